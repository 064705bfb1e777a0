package server

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// TestChaos: clients of three accounts that do anything in any order, garbage
// and sudden ends included, some of them without ever reading. Afterwards
// nothing is left of them. Run with the race detector.
func TestChaos(t *testing.T) {
	s := startConf(t, `max_pending: 1MB, max_payload: 100KB, write_deadline: "200ms"
		accounts {
		A { users: [{user: a, password: p, permissions: {subscribe: {deny: ["x.no", "x.* bad"]}}}], mappings: {"m.*": "x.$1"}
			exports: [{stream: "x.>"}, {service: "svc.*", response_type: stream, threshold: "50ms"}] }
		B { users: [{user: b, password: p, permissions: {publish: ["x.*", "svc.*", "from.>"], allow_responses: true}}]
			imports: [{stream: {account: A, subject: "x.>"}, prefix: "from"}, {service: {account: A, subject: "svc.*"}}]
			exports: [{stream: "from.>"}] }
		C { users: [{user: c, password: p}], imports: [{stream: {account: B, subject: "from.>"}, to: "c.>"}] }
	}`)
	before := map[string]int{}
	for _, a := range s.accounts.All() {
		before[a.Name()] = a.List().Len()
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for {
				select {
				case <-stop:
					return
				default:
					chaosClient(s, rng, stop)
				}
			}
		})
	}
	time.AfterFunc(3*time.Second, func() { close(stop) })
	wg.Wait()
	waitFor(t, func() bool { return len(s.Clients()) == 0 })
	for _, a := range s.accounts.All() {
		if n := a.List().Len(); n != before[a.Name()] {
			t.Errorf("account %s: %d subscriptions, %d before", a.Name(), n, before[a.Name()])
		}
		if n := a.Clients(); n != 0 {
			t.Errorf("account %s: %d clients", a.Name(), n)
		}
	}
}

func chaosClient(s *Server, rng *rand.Rand, stop chan struct{}) {
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	var replies sync.Map
	if rng.IntN(4) > 0 {
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if at := bytes.Index(buf[:n], []byte("_R_.")); at >= 0 && at+17 <= n {
					replies.Store(0, string(buf[at:at+17]))
				}
			}
		}()
	}
	subjects := []string{"x.1", "x.*", "x.no", ">", "from.x.1", "from.>", "*.x.*", "svc.1", "svc.*", "m.1", "in", "c.x.1", "c.>", "x.1.2"}
	subject := func() string { return subjects[rng.IntN(len(subjects))] }
	connect := func() string {
		return fmt.Sprintf("CONNECT {\"user\":%q,\"pass\":\"p\",\"verbose\":%v,\"pedantic\":%v,\"echo\":%v,\"headers\":true,\"no_responders\":%v,\"protocol\":1}\r\n",
			[]string{"a", "b", "c"}[rng.IntN(3)], rng.IntN(5) == 0, rng.IntN(5) == 0, rng.IntN(5) > 0, rng.IntN(2) == 0)
	}
	io.WriteString(c, connect())
	var out bytes.Buffer
	for range 1 + rng.IntN(100) {
		select {
		case <-stop:
			return
		default:
		}
		out.Reset()
		for range 1 + rng.IntN(20) {
			switch n := rng.IntN(40); {
			case n < 8:
				fmt.Fprintf(&out, "SUB %s %d\r\n", subject(), rng.IntN(20))
			case n < 10:
				fmt.Fprintf(&out, "SUB %s %s %d\r\n", subject(), []string{"q", "bad"}[rng.IntN(2)], rng.IntN(20))
			case n < 14:
				fmt.Fprintf(&out, "UNSUB %d %d\r\n", rng.IntN(20), rng.IntN(6))
			case n < 28:
				size := rng.IntN(200)
				if rng.IntN(10) == 0 {
					size = rng.IntN(50000)
				}
				reply := ""
				if rng.IntN(2) == 0 {
					reply = "in "
				}
				to := subject()
				if r, ok := replies.Load(0); ok && rng.IntN(3) == 0 {
					to = r.(string)
				}
				fmt.Fprintf(&out, "PUB %s %s%d\r\n%s\r\n", to, reply, size, make([]byte, size))
			case n < 34:
				h := "NATS/1.0\r\nA: b\r\n\r\n"
				if rng.IntN(3) == 0 {
					h = "NATS/1.0\r\nNats-Trace-Dest: in\r\n\r\n"
				}
				fmt.Fprintf(&out, "HPUB %s in %d %d\r\n%sxyz\r\n", subject(), len(h), len(h)+3, h)
			case n < 38:
				out.WriteString("PING\r\n")
			case n == 38 && rng.IntN(20) == 0:
				out.WriteString(connect())
			case n == 39 && rng.IntN(20) == 0:
				junk := make([]byte, 1+rng.IntN(50))
				for i := range junk {
					junk[i] = byte(rng.Uint32())
				}
				out.Write(junk)
			}
		}
		if _, err := c.Write(out.Bytes()); err != nil {
			return
		}
	}
}

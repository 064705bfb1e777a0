package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// recordedConf is the situation in which the replies in testdata/monitoring were recorded from nats-server 2.15.
const recordedConf = `
server_name: M1
server_tags: ["az:1", "ssd"]
server_metadata { rack: r9 }
http: "127.0.0.1:-1"
jetstream { store_dir: %q, max_mem: 64MB, max_file: 128MB }
accounts {
  A {
    jetstream: enabled
    users: [ {user: a, password: p} ]
    mappings { "m.*": [ {destination: "o.$1", weight: 20}, {destination: "n.$1", weight: 80} ] }
    exports: [ {service: "svc.*", latency: {sampling: 100, subject: "lat.svc"}}, {stream: "ev.>"} ]
  }
  B {
    users: [ {user: b, password: p} ]
    imports: [ {service: {account: A, subject: "svc.one"}, to: "one"}, {stream: {account: A, subject: "ev.>"}, prefix: "imp"} ]
  }
  SYS { users: [ {user: sys, password: p} ] }
}
system_account: SYS
`

// intended are the differences between a recorded reply and ours, by document: "-path" is missing here, "+path" is new.
// docs/monitoring.md says why.
var intended = map[string][]string{
	"varz":            {"+jetstream.config.sync_always bool"},
	"req-PING.VARZ":   {"+data.jetstream.config.sync_always bool"},
	"jsz":             {"+config.sync_always bool"},
	"jsz-all":         {"+config.sync_always bool"},
	"req-PING.JSZ":    {"+data.config.sync_always bool"},
	"req-PING":        {"+statsz.jetstream.config.sync_always bool"},
	"req-PING.STATSZ": {"+statsz.jetstream.config.sync_always bool"},
	"jsz-acc":         {"+config.sync_always bool"},
	// The names of queues are each server's own, but for four.
	"ipqueuesz": {
		"-SendQ.pending float64", "-System recvQ Pings.pending float64",
		"-[ACC:A] consumer 'C1' on stream 'ORD' ackMsgs.pending float64", "-[ACC:A] consumer 'C1' on stream 'ORD' pull requests.pending float64",
		"-[ACC:A] stream 'ORD' direct gets.pending float64", "-[ACC:A] stream 'ORD' obs.pending float64",
		"-[ACC:A] stream 'ORD' sendQ.pending float64", "-delayed API responses.pending float64",
	},
	// Where there is nothing, there is no null.
	"req-err-ACCOUNT.INFO": {"-data null"},
	"req-err-ACCOUNT.JSZ":  {"-data null"},
	"req-err-connz-filter": {"-data null"},
	"req-err-connz-sort":   {"-data null"},
	"connz-acc-missing":    {"+connections[] empty", "-connections null"},
	"trace-js-0":           {"+server.metadata.rack string", "+server.tags[] string", "-server.cluster string"},
	"trace-svcimport-0":    {"+server.metadata.rack string", "+server.tags[] string", "-server.cluster string"},
	// Recorded in a cluster, from a server without tags.
	"event-SYS.SERVER.ID.SHUTDOWN": {"+metadata.rack string", "+tags[] string", "-cluster string"},
	"event-SYS.SERVER.ID.STATSZ":   {"+statsz.jetstream.config.sync_always bool"},
}

// shape lists the members of a JSON value with their types; the elements of an array are one.
func shape(v any, path string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			into[path+" object"] = true
		}
		for k, m := range v {
			if path != "" {
				k = path + "." + k
			}
			shape(m, k, into)
		}
	case []any:
		if len(v) == 0 {
			into[path+"[] empty"] = true
		}
		for _, e := range v {
			shape(e, path+"[]", into)
		}
	default:
		into[path+" "+map[bool]string{true: "null"}[v == nil]+strings.TrimPrefix(fmt.Sprintf("%T", v), "<nil>")] = true
	}
}

func shapeOf(t *testing.T, b []byte) map[string]bool {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	m := map[string]bool{}
	shape(v, "", m)
	return m
}

// differences are the members that only one side has.
func differences(want, got map[string]bool) []string {
	var d []string
	for p := range want {
		if !got[p] {
			d = append(d, "-"+p)
		}
	}
	for p := range got {
		if !want[p] {
			d = append(d, "+"+p)
		}
	}
	slices.Sort(d)
	return d
}

func recorded(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "monitoring", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func get(s *Server, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.monitor.Handler("").ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// recordedSituation starts a server like the one that was recorded, with the same clients.
func recordedSituation(t *testing.T) (s *Server, sys, a *nats.Conn) {
	return recordedSituationOf(t, fmt.Sprintf(recordedConf, t.TempDir()))
}

func recordedSituationOf(t *testing.T, conf string) (s *Server, sys, a *nats.Conn) {
	s = startConf(t, conf)
	sys = connect(t, s, nats.UserInfo("sys", "p"), nats.Name("sysmon"))
	a = connect(t, s, nats.UserInfo("a", "p"), nats.Name("app-a"))
	b := connect(t, s, nats.UserInfo("b", "p"), nats.Name("app-b"))
	if _, err := a.Subscribe("svc.*", func(m *nats.Msg) { m.Respond([]byte("ok")) }); err != nil {
		t.Fatal(err)
	}
	if _, err := a.QueueSubscribe("work", "q1", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(a)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORD", Subjects: []string{"ord.>"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "C1", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := js.Publish(t.Context(), "ord.1", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Request("one", nil, patience); err != nil {
		t.Fatal(err)
	}
	return s, sys, a
}

// TestRecordedReplies compares the members of our replies, and their types, with those recorded in the same situation.
func TestRecordedReplies(t *testing.T) {
	s, sys, a := recordedSituation(t)
	compare := func(name string, got []byte) {
		t.Helper()
		if d := differences(shapeOf(t, recorded(t, name)), shapeOf(t, got)); !slices.Equal(d, slices.Sorted(slices.Values(intended[name]))) {
			t.Errorf("%s: differences %q, intended %q\nours: %s", name, d, intended[name], got)
		}
	}
	closed := connect(t, s, nats.UserInfo("a", "p"))
	if _, err := closed.SubscribeSync("x"); err != nil {
		t.Fatal(err)
	}
	if err := closed.Flush(); err != nil {
		t.Fatal(err)
	}
	closed.Close()
	waitUntil(t, func() bool { _, n := s.ClosedClients(); return n == 1 })

	for _, d := range [][2]string{
		{"varz", "/varz"}, {"connz", "/connz"}, {"connz-subs", "/connz?subs=1"}, {"connz-auth-subsdetail", "/connz?auth=1&subs=detail"},
		{"connz-closed", "/connz?state=closed&auth=1&subs=1"}, {"routez", "/routez"}, {"gatewayz", "/gatewayz"}, {"leafz", "/leafz"},
		{"subsz", "/subsz"}, {"subsz-subs", "/subsz?subs=1&acc=A&limit=3"}, {"accountz", "/accountz"}, {"accountz-A", "/accountz?acc=A"},
		{"accountz-B", "/accountz?acc=B"}, {"accstatz", "/accstatz"}, {"jsz", "/jsz"}, {"jsz-all", "/jsz?consumers=1&config=1"},
		{"healthz", "/healthz"}, {"healthz-details", "/healthz?details=1"},
	} {
		w := get(s, d[1])
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", d[1], w.Code, w.Body)
			continue
		}
		compare(d[0], w.Body.Bytes())
	}

	get(s, "/")
	request := func(c *nats.Conn, subject, body string) []byte {
		t.Helper()
		m, err := c.Request(subject, []byte(body), patience)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		return m.Data
	}
	for _, x := range []string{"VARZ", "IDZ", "HEALTHZ", "JSZ", "RAFTZ", "PROFILEZ"} {
		compare("req-PING."+x, request(sys, "$SYS.REQ.SERVER.PING."+x, ""))
	}
	compare("req-PING", request(sys, "$SYS.REQ.SERVER.PING", ""))
	for _, x := range []string{"CONNS", "STATZ", "INFO", "JSZ", "CONNZ", "SUBSZ", "LEAFZ"} {
		compare("req-ACCOUNT."+x, request(sys, "$SYS.REQ.ACCOUNT.A."+x, ""))
	}
	compare("req-USER.INFO-A", request(a, "$SYS.REQ.USER.INFO", ""))
	compare("req-KICK-err", request(sys, "$SYS.REQ.SERVER."+s.ID()+".KICK", `{"cid":99999}`))
	compare("req-err-badjson", request(sys, "$SYS.REQ.SERVER.PING.VARZ", `{bad`))
	compare("req-HEALTHZ-err", request(sys, "$SYS.REQ.SERVER.PING.HEALTHZ", `{"account":"A","stream":"NOPE"}`))
}

// TestRecordedEvents does the same for what a server publishes.
func TestRecordedEvents(t *testing.T) {
	s, sys, _ := recordedSituation(t)
	events := make(chan *nats.Msg, 1000)
	if _, err := sys.ChanSubscribe("$SYS.>", events); err != nil {
		t.Fatal(err)
	}
	if err := sys.Flush(); err != nil {
		t.Fatal(err)
	}
	seen := map[string][]byte{}
	// next returns an event of a kind. Kinds have no order.
	next := func(subject string) []byte {
		t.Helper()
		for timeout := time.After(patience); seen[subject] == nil; {
			select {
			case m := <-events:
				seen[strings.ReplaceAll(m.Subject, s.ID(), "ID")] = m.Data
			case <-timeout:
				t.Fatalf("no event on %s", subject)
			}
		}
		return seen[subject]
	}
	compare := func(subject string) {
		t.Helper()
		name := "event-" + strings.TrimPrefix(subject, "$")
		got := next(subject)
		if d := differences(shapeOf(t, recorded(t, name)), shapeOf(t, got)); !slices.Equal(d, slices.Sorted(slices.Values(intended[name]))) {
			t.Errorf("%s: differences %q, intended %q\nours: %s", name, d, intended[name], got)
		}
	}
	compare("$SYS.SERVER.ID.STATSZ")
	connect(t, s, nats.UserInfo("a", "p"), nats.Name("app-a"))
	compare("$SYS.ACCOUNT.A.CONNECT")
	compare("$SYS.ACCOUNT.A.SERVER.CONNS")
	connect(t, s, nats.UserInfo("a", "p")).Close()
	compare("$SYS.ACCOUNT.A.DISCONNECT")
	if c, err := nats.Connect("nats://"+s.Addr().String(), nats.Timeout(patience), nats.UserInfo("a", "wrong")); err == nil {
		c.Close()
		t.Fatal("logged in with a wrong password")
	}
	compare("$SYS.SERVER.ID.CLIENT.AUTH.ERR")
	s.events.LameDuck()
	compare("$SYS.SERVER.ID.LAMEDUCK")
	go s.Shutdown()
	compare("$SYS.SERVER.ID.SHUTDOWN")
}

// waitUntil polls.
func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it does not happen")
		}
	}
}

// TestMonitoringPort: the port is served, shown in the ports, and closed with the server.
func TestMonitoringPort(t *testing.T) {
	s := startConf(t, `http: "127.0.0.1:-1"`)
	addr := s.MonitorAddr().String()
	r, err := http.Get("http://" + addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("status %d", r.StatusCode)
	}
	if want := []string{"http://" + addr}; !slices.Equal(s.Ports().Monitoring, want) {
		t.Errorf("ports %q, want %q", s.Ports().Monitoring, want)
	}
	http.DefaultClient.CloseIdleConnections()
	s.Shutdown()
	if r, err := http.Get("http://" + addr + "/varz"); err == nil { // by whoever has the port now
		defer r.Body.Close()
		if text, _ := io.ReadAll(r.Body); bytes.Contains(text, []byte(s.ID())) {
			t.Error("the port is still open")
		}
	}
}

// TestManyMonitoringConnections: beyond the bound, an idle connection makes room for a new one; while none is idle, the
// new one is closed.
func TestManyMonitoringConnections(t *testing.T) {
	var m monitorConns
	open := map[net.Conn]net.Conn{} // the other ends
	connect := func() net.Conn {
		near, far := net.Pipe()
		open[near] = far
		t.Cleanup(func() { near.Close(); far.Close() })
		m.changed(near, http.StateNew)
		return near
	}
	closed := func(c net.Conn) bool {
		open[c].SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := open[c].Read(make([]byte, 1))
		return err == io.EOF
	}
	var first, second net.Conn
	for i := range maxMonitorConns {
		c := connect()
		m.changed(c, http.StateActive)
		switch i {
		case 0:
			first = c
		case 1:
			second = c
		}
	}
	if c := connect(); !closed(c) {
		t.Error("one too many is open")
	} else {
		m.changed(c, http.StateClosed)
	}
	m.changed(second, http.StateIdle)
	m.changed(first, http.StateIdle)
	if c := connect(); closed(c) || !closed(second) || closed(first) {
		t.Error("the one that has been idle for the longest time does not make room")
	}
}

// TestHostileMonitoringRequests: what is odd gets an answer, and the server goes on.
func TestHostileMonitoringRequests(t *testing.T) {
	s := startConf(t, `http: "127.0.0.1:-1"`)
	const most = "9223372036854775807"
	for _, c := range []struct {
		request string
		status  string // the beginning of the answer
		text    string // in it
	}{
		{"GET /subsz?subs=1&offset=" + most + "&limit=" + most + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", `"offset": ` + most},
		{"GET /subsz?subs=1&offset=1&limit=" + most + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", `"subscriptions_list": [`},
		{"GET /connz?offset=-" + most + "&limit=-1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", `"limit": 1024`},
		{"GET /connz?limit=9223372036854775808 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "Error decoding int for 'limit': strconv.Atoi: parsing \"9223372036854775808\": value out of range"},
		{"GET /jsz?offset=" + most + "&accounts=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK", `"disabled": true`},
		{"GET /connz?sort=%00 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "invalid sorting option: \x00"},
		{"GET /connz?state=%ff&cid=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "Error decoding state for \xff"},
		{"GET /varz/../healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "404 page not found"},
		{"GET //varz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "404 page not found"},
		{"GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", `{"status":"ok"}`},
		{"BREW /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 200 OK", `{"status":"ok"}`},
		{"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxMonitorHeader) + "\r\n\r\n", "HTTP/1.1 431 ", ""},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "HTTP/1.1 400 ", ""},
	} {
		nc, err := net.Dial("tcp", s.MonitorAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		go io.WriteString(nc, c.request)
		answer, text := "", make([]byte, 64<<10)
		for !strings.HasPrefix(answer, c.status) || !strings.Contains(answer, c.text) {
			n, err := nc.Read(text)
			if answer += string(text[:n]); err != nil {
				t.Errorf("%.200q: %q, want %s and %s", c.request, answer, c.status, c.text)
				break
			}
		}
		nc.Close()
	}
}

// TestHealthOutOfService: who starts or stops is not ready, and neither is JetStream when it does not run.
func TestHealthOutOfService(t *testing.T) {
	s := startConf(t, fmt.Sprintf("http: \"127.0.0.1:-1\"\njetstream { store_dir: %q }", t.TempDir()))
	want := func(code int, body string) {
		t.Helper()
		r, err := http.Get("http://" + s.MonitorAddr().String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if text, _ := io.ReadAll(r.Body); r.StatusCode != code || string(text) != body {
			t.Errorf("%d %s, want %d %s", r.StatusCode, text, code, body)
		}
	}
	set := func(state runState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state = state
	}
	want(http.StatusOK, `{"status":"ok"}`)
	for _, state := range []runState{created, starting, lameDuck, stopped} {
		set(state)
		want(http.StatusInternalServerError, `{"status":"error","error":"failed to be ready for connections after 1ms: client listener is not open"}`)
	}
	s.stopJetStream()
	s.reloadJetStream(s.Options(), nil)
	if s.JetStream() != nil {
		t.Error("a reload has started JetStream in a server that ends")
	}
	set(running)
	want(http.StatusServiceUnavailable, `{"status":"unavailable","error":"JetStream not enabled"}`)
	s.reloadJetStream(s.Options(), nil)
	want(http.StatusOK, `{"status":"ok"}`)
}

// TestSlowProfileEndsWithTheServer: a shutdown does not wait for a profile of the processor.
func TestSlowProfileEndsWithTheServer(t *testing.T) {
	s := startConf(t, `accounts { SYS { users: [ {user: sys, password: p} ] } }, system_account: SYS`)
	c := connect(t, s, nats.UserInfo("sys", "p"))
	if err := c.PublishRequest("$SYS.REQ.SERVER.PING.PROFILEZ", "in", []byte(`{"name":"cpu","duration":15000000000}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request("$SYS.REQ.SERVER.PING.IDZ", nil, patience); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.Shutdown()
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
}

// TestClosedSubscriptions: of a closed connection all subscriptions are counted, and some are kept.
func TestClosedSubscriptions(t *testing.T) {
	s := startConf(t, "")
	c := connect(t, s)
	for i := range maxClosedSubs + 50 {
		if _, err := c.SubscribeSync(fmt.Sprintf("s.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	waitUntil(t, func() bool { _, n := s.ClosedClients(); return n == 1 })
	closed, _ := s.ClosedClients()
	if n := len(closed[0].Subs); n != maxClosedSubs || cap(closed[0].Subs) >= maxClosedSubs+50 {
		t.Errorf("%d subscriptions are kept in room for %d", n, cap(closed[0].Subs))
	}
	if n := closed[0].NumSubs; n != maxClosedSubs+50 {
		t.Errorf("%d subscriptions are counted", n)
	}
}

// TestIntendedAreDocuments: no difference is intended for a document that nobody compares.
func TestIntendedAreDocuments(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(intended)) {
		recorded(t, name)
	}
}

// Each stream has a queue.
func TestStreamQueues(t *testing.T) {
	s := startFile(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))
	js, err := connect(t, s.Server).JetStream(nats.MaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "S"}); err != nil {
		t.Fatal(err)
	}
	var queues map[string]struct{ Pending int }
	if err := json.Unmarshal(get(s.Server, "/ipqueuesz?all=1").Body.Bytes(), &queues); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"System recvQ", "System sendQ", "JetStream API queue", "JetStream API info queue", "[ACC:$G] stream 'S' messages"} {
		if _, ok := queues[name]; !ok {
			t.Errorf("no queue %q in %v", name, queues)
		}
	}
}

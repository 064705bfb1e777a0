package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	mostInt    = "9223372036854775807"  // of an int64: 292 years as a duration
	mostUint   = "18446744073709551615" // of a uint64
	lastSeq    = "4611686018427387903"  // the largest sequence that a record can carry
	beyondSeq  = "4611686018427387904"
	farTime    = `"9999-12-31T23:59:59Z"` // not a number of ns in an int64
	longAgo    = `"0001-01-01T00:00:01Z"`
	beyondText = "10052 first sequence can not be larger than " + lastSeq
)

// asked sends a request of the API with a body as it is, and returns the error's code
// and text, or "".
func asked(t *testing.T, nc *nats.Conn, tail, body string) (map[string]any, string) {
	t.Helper()
	var payload any
	if body != "" {
		payload = json.RawMessage(body)
	}
	reply := api(t, nc, tail, payload)
	if e, _ := reply["error"].(map[string]any); e != nil {
		return reply, fmt.Sprint(e["err_code"], " ", e["description"])
	}
	return reply, ""
}

// Streams of extreme configurations are refused when they are created, or work: with
// messages, with a consumer, and over a kill.
func TestExtremeStreams(t *testing.T) {
	s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))
	nc := s.connect()
	type stream struct {
		config, refused string
		last            string // sequence of the third message; "3" if ""
		left            string // messages of the three that stay; "3" if ""
	}
	var all []stream
	for _, storage := range []string{"file", "memory"} {
		for _, c := range []stream{
			{config: `"first_seq":` + beyondSeq, refused: beyondText},
			{config: `"first_seq":9223372036854775808`, refused: beyondText},
			{config: `"first_seq":` + mostUint, refused: beyondText},
			{config: `"first_seq":4611686018427387901`, last: lastSeq},
			{config: `"max_age":` + mostInt},
			{config: `"max_age":` + mostInt + `,"allow_msg_ttl":true,"subject_delete_marker_ttl":` + mostInt},
			{config: `"duplicate_window":` + mostInt},
			{config: `"max_msgs":` + mostInt + `,"max_msgs_per_subject":` + mostInt + `,"max_consumers":` + mostInt + `,"max_msg_size":2147483647`},
			{config: `"max_msgs":` + mostInt + `,"max_msg_size":2147483647`},
			{config: `"consumer_limits":{"inactive_threshold":` + mostInt + `,"max_ack_pending":` + mostInt + `}`},
			{config: `"max_msgs":-` + mostInt + `,"max_bytes":-` + mostInt + `,"max_msg_size":-2147483648`},
			{config: `"max_age":-` + mostInt, refused: "10052 max age can not be negative"},
			{config: `"duplicate_window":-` + mostInt, refused: "10052 duplicates window can not be negative"},
			{config: `"first_seq":-1`, refused: "10025 invalid JSON: json: cannot unmarshal number -1 into Go struct field"},
			{config: `"max_bytes":1`, left: "0"},
		} {
			c.config += `,"storage":"` + storage + `"`
			all = append(all, c)
		}
	}
	all = append(all, stream{config: `"max_bytes":` + mostInt, refused: "10047 insufficient storage resources available"})
	publish := func(subject, id string) string {
		t.Helper()
		m := nats.NewMsg(subject)
		m.Header.Set(nats.MsgIdHdr, id)
		return string(must(nc.RequestMsg(m, wait))(t).Data)
	}
	name := func(i int) string { return fmt.Sprint("S", i) }
	for i, c := range all {
		_, refused := asked(t, nc, "STREAM.CREATE."+name(i), fmt.Sprintf(`{"name":%q,%s}`, name(i), c.config))
		if refused != c.refused && (c.refused == "" || !strings.HasPrefix(refused, c.refused)) {
			t.Fatalf("%s: refused with %q, want %q", c.config, refused, c.refused)
		}
		if refused != "" {
			continue
		}
		for n := range 3 {
			if got := publish(name(i), fmt.Sprint(n)); strings.Contains(got, "error") {
				t.Errorf("%s: publish: %s", c.config, got)
			}
		}
		if got := publish(name(i), "2"); !strings.Contains(got, `"duplicate": true`) {
			t.Errorf("%s: the same id again: %s", c.config, got)
		}
	}
	look := func(round int) {
		t.Helper()
		for i, c := range all {
			if c.refused != "" || round > 0 && strings.Contains(c.config, "memory") {
				continue
			}
			last, left := c.last, c.left
			if last == "" {
				last = "3"
			}
			if left == "" {
				left = "3"
			}
			info, refused := asked(t, nc, "STREAM.INFO."+name(i), "")
			state, _ := info["state"].(map[string]any)
			if refused != "" || fmt.Sprint(state["last_seq"]) != last || fmt.Sprint(state["messages"]) != left {
				t.Errorf("round %d: %s: %s %v", round, c.config, refused, state)
			}
			if left != "0" {
				reply, refused := asked(t, nc, "STREAM.MSG.GET."+name(i), `{"seq":`+last+`}`)
				if refused != "" {
					t.Errorf("round %d: %s: message %s: %v", round, c.config, last, reply)
				}
			}
			if strings.HasSuffix(last, "903") { // nothing fits behind the last sequence, and that is said
				if got := publish(name(i), "4"); !strings.Contains(got, `"err_code":10077`) {
					t.Errorf("round %d: %s: publish behind the last sequence: %s", round, c.config, got)
				}
			}
		}
	}
	look(0)
	nc.Close()
	s.kill()
	s.start()
	nc = s.connect()
	look(1)
}

// Sequences beyond all that there can be, in requests.
func TestExtremeSequences(t *testing.T) {
	s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))
	nc := s.connect()
	for _, storage := range []string{"file", "memory"} {
		name := "S-" + storage
		if _, err := asked(t, nc, "STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"storage":%q,"allow_direct":true}`, name, storage)); err != "" {
			t.Fatal(err)
		}
		for range 3 {
			must(nc.Request(name, nil, wait))(t)
		}
		for _, seq := range []string{beyondSeq, "9223372036854775808", mostUint} {
			for _, c := range []struct{ tail, body, want string }{
				{"STREAM.PURGE.", `{"seq":` + seq + `}`, "10110 expected sequence does not match store"},
				{"STREAM.MSG.GET.", `{"seq":` + seq + `}`, "10037 no message found"},
				{"STREAM.MSG.GET.", `{"seq":` + seq + `,"next_by_subj":">"}`, "10037 no message found"},
				{"STREAM.MSG.DELETE.", `{"seq":` + seq + `}`, "100"},
				{"STREAM.PURGE.", `{"keep":` + seq + `}`, ""},
			} {
				if reply, err := asked(t, nc, c.tail+name, c.body); err != c.want && (c.want == "" || !strings.HasPrefix(err, c.want)) {
					t.Errorf("%s %s %s: %v, want %q", storage, c.tail, c.body, reply, c.want)
				}
			}
			for _, body := range []string{`{"seq":` + seq + `,"batch":5}`, `{"seq":1,"batch":` + mostInt + `,"max_bytes":1}`, `{"multi_last":[">"],"up_to_seq":` + seq + `}`} {
				must(nc.Request("$JS.API.DIRECT.GET."+name, []byte(body), wait))(t)
			}
		}
		if reply, err := asked(t, nc, "STREAM.PURGE."+name, `{"seq":`+lastSeq+`}`); err != "" || fmt.Sprint(reply["purged"]) != "3" {
			t.Errorf("%s: purge: %v", storage, reply)
		}
		if got := string(must(nc.Request(name, nil, wait))(t).Data); got != fmt.Sprintf(`{"stream":%q,"seq":%s}`, name, lastSeq) {
			t.Errorf("%s: publish behind the purge: %s", storage, got)
		}
	}
}

// Consumers of extreme configurations work, over a kill as well.
func TestExtremeConsumers(t *testing.T) {
	s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))
	nc := s.connect()
	if _, err := asked(t, nc, "STREAM.CREATE.S", `{"name":"S"}`); err != "" {
		t.Fatal(err)
	}
	for range 3 {
		must(nc.Request("S", nil, wait))(t)
	}
	const explicit = `,"ack_policy":"explicit"`
	all := []struct {
		config string
		next   string // sequence of the first message; "" for none
		pull   string
	}{
		{`"ack_wait":` + mostInt + explicit, "1", ``},
		{`"backoff":[` + mostInt + `,` + mostInt + `]` + explicit, "1", ``},
		{`"inactive_threshold":` + mostInt + explicit, "1", ``},
		{`"ack_wait":` + mostInt + `,"inactive_threshold":` + mostInt + explicit, "1", ``},
		{`"max_deliver":` + mostInt + `,"max_ack_pending":` + mostInt + `,"max_waiting":` + mostInt + explicit, "1", ``},
		{`"max_batch":` + mostInt + `,"max_bytes":` + mostInt + `,"max_expires":` + mostInt + explicit, "1", `{"batch":` + mostInt + `,"max_bytes":` + mostInt + `,"no_wait":true}`},
		{`"max_expires":` + mostInt + explicit, "1", `{"batch":` + mostInt + `,"expires":` + mostInt + `}`},
		{`"max_expires":` + mostInt + explicit, "1", `{"batch":3,"expires":` + mostInt + `,"idle_heartbeat":4611686018427387903}`},
		{`"sample_freq":"` + mostInt + `"` + explicit, "1", ``},
		{`"pause_until":` + farTime + explicit, "", ``},
		{`"pause_until":` + longAgo + explicit, "1", ``},
		{`"priority_groups":["g"],"priority_policy":"pinned_client","priority_timeout":` + mostInt + explicit, "1", `{"group":"g","no_wait":true}`},
		{`"priority_groups":["g"],"priority_policy":"overflow"` + explicit, "", `{"group":"g","min_pending":` + mostInt + `,"min_ack_pending":` + mostInt + `,"no_wait":true}`},
		{`"deliver_policy":"by_start_sequence","opt_start_seq":` + beyondSeq + explicit, "", ``},
		{`"deliver_policy":"by_start_sequence","opt_start_seq":9223372036854775808` + explicit, "", ``},
		{`"deliver_policy":"by_start_sequence","opt_start_seq":` + mostUint + explicit, "", ``},
		{`"deliver_policy":"by_start_time","opt_start_time":` + farTime + explicit, "", ``},
		{`"deliver_policy":"by_start_time","opt_start_time":` + longAgo + explicit, "1", ``},
	}
	name := func(i int) string { return fmt.Sprint("c", i) }
	for i, c := range all {
		if _, err := asked(t, nc, "CONSUMER.CREATE.S."+name(i), fmt.Sprintf(`{"stream_name":"S","config":{"name":%q,"durable_name":%q,%s}}`, name(i), name(i), c.config)); err != "" {
			t.Errorf("%s: %s", c.config, err)
			continue
		}
		pull := c.pull
		if pull == "" {
			pull = `{"no_wait":true}`
		}
		inbox := must(nc.SubscribeSync(nc.NewInbox()))(t)
		check(t, nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.S."+name(i), inbox.Subject, []byte(pull)))
		patience := wait
		if c.next == "" {
			patience = 100 * time.Millisecond
		}
		m, err := inbox.NextMsg(patience)
		switch {
		case c.next == "" && err == nil && m.Reply != "":
			t.Errorf("%s: delivered %s", c.config, m.Reply)
		case c.next != "" && (err != nil || !strings.HasPrefix(m.Reply, "$JS.ACK.S."+name(i)+".1."+c.next+".")):
			t.Errorf("%s: %v %+v", c.config, err, m)
		}
		check(t, inbox.Unsubscribe())
	}
	if _, err := asked(t, nc, "CONSUMER.CREATE.S.reset", `{"stream_name":"S","config":{"name":"reset","durable_name":"reset"}}`); err != "" {
		t.Fatal(err)
	}
	if _, err := asked(t, nc, "CONSUMER.RESET.S.reset", `{"seq":`+mostUint+`}`); err != "" {
		t.Error(err)
	}
	// A push consumer with extreme times: its messages come once, and no heartbeat.
	pushed := must(nc.SubscribeSync("push"))(t)
	if _, err := asked(t, nc, "CONSUMER.CREATE.S.push", `{"stream_name":"S","config":{"name":"push","durable_name":"push","deliver_subject":"push","idle_heartbeat":`+mostInt+
		`,"rate_limit_bps":`+mostUint+`,"ack_wait":`+mostInt+explicit+`}}`); err != "" {
		t.Fatal(err)
	}
	for range 3 {
		m := must(pushed.NextMsg(wait))(t)
		if m.Reply == "" {
			t.Fatalf("%+v", m)
		}
	}
	look := func(what string) {
		t.Helper()
		if m, err := pushed.NextMsg(100 * time.Millisecond); err == nil {
			t.Errorf("%s: %+v", what, m)
		}
		for i, c := range all {
			info, err := asked(t, nc, "CONSUMER.INFO.S."+name(i), "")
			if err != "" || fmt.Sprint(info["num_redelivered"]) != "0" {
				t.Errorf("%s: %s: %v", what, c.config, info)
			}
			if paused := strings.Contains(c.config, farTime) && strings.Contains(c.config, "pause"); paused != (info["paused"] == true) {
				t.Errorf("%s: %s: paused %v", what, c.config, info["paused"])
			}
		}
	}
	look("before")
	nc.Close()
	s.kill()
	s.start()
	nc = s.connect()
	pushed = must(nc.SubscribeSync("other"))(t)
	look("behind")
	if strings.Contains(s.log.String(), "[ERR]") {
		t.Error(s.log)
	}
}

// Metadata may be 131072 bytes long, without what the server adds to it.
func TestLargestMetadata(t *testing.T) {
	s := startServer(t, fmt.Sprintf("max_payload: 2MB\njetstream { store_dir: %q }", t.TempDir()))
	nc := s.connect()
	largest := strings.Repeat("m", 131072-len("k"))
	create := func(tail, format, value string) (map[string]any, string) {
		t.Helper()
		return asked(t, nc, tail, fmt.Sprintf(format, value))
	}
	for _, c := range []struct{ tail, format, refused string }{
		{"STREAM.CREATE.S", `{"name":"S","metadata":{"k":%q}}`, "10052 stream metadata exceeds maximum size of 131072 bytes"},
		{"CONSUMER.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c","metadata":{"k":%q}}}`, "10135 consumer metadata exceeds maximum size of 128KB"},
	} {
		if _, err := create(c.tail, c.format, largest+"m"); err != c.refused {
			t.Errorf("%s: one byte too many: %q", c.tail, err)
		}
		reply, err := create(c.tail, c.format, largest)
		if err != "" {
			t.Errorf("%s: %s", c.tail, err)
			continue
		}
		// What an answer shows can be sent back.
		config := reply["config"].(map[string]any)
		if n := len(config["metadata"].(map[string]any)); n != 4 {
			t.Errorf("%s: %d keys", c.tail, n)
		}
		config["description"] = "again"
		var body any = config
		if strings.HasPrefix(c.tail, "CONSUMER") {
			body = map[string]any{"stream_name": "S", "config": config}
		}
		if reply := api(t, nc, strings.Replace(c.tail, "STREAM.CREATE", "STREAM.UPDATE", 1), body); reply["error"] != nil {
			t.Errorf("%s: what was shown, sent back: %v", c.tail, reply["error"])
		}
	}
}

package jetstream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// want checks that a request's reply contains a text.
func (c *client) want(part, subject, data string, headers ...string) received {
	c.t.Helper()
	r := c.request(subject, data, headers...)
	if !strings.Contains(r.data, part) {
		c.t.Errorf("%s %s %q:\n got %s\nwant %s", subject, data, headers, r.data, part)
	}
	return r
}

// Rules about single requests: a reply's part for each. The lines run in order
// on one server.
func TestRules(t *testing.T) {
	inMemory(t, Options{Domain: "D"}, func(t *testing.T, a *Account, c *client) {
		system := newClient(t, &testBus{})
		if err := a.engine.SetSystem(system.bus); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"$JS.API.INFO", "$JS.D.API.INFO"} {
			system.wantReply(`{"type":"io.nats.jetstream.api.v1.account_info_response","error":{"code":503,"err_code":10039,"description":"JetStream not enabled for account"}}`, s, "")
		}
		long := strings.Repeat("n", 255)
		const level = "Nats-Required-Api-Level: 6"
		for _, r := range [][]string{
			{"STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_ttl":true,"allow_msg_schedules":true,"allow_atomic":true}`, `"did_create":true`},
			// Existence comes before the replicas.
			{"STREAM.UPDATE.X", `{"name":"X","num_replicas":3}`, `"err_code":10059`},
			{"STREAM.UPDATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory","allow_msg_ttl":true,"allow_msg_schedules":true,"num_replicas":3}`, `"err_code":10074`},
			{"STREAM.RESTORE.a/b", `{"config":{"name":"a/b"}}`, `"err_code":10128`},
			{"STREAM.RESTORE.S", `{"config":{"name":"S"}}`, `"err_code":10130`},
			// A delivery prefix collides with subjects of origins that the account can see.
			{"STREAM.CREATE.P", `{"name":"P","storage":"memory","subjects":["d.>"],"sources":[{"name":"O","external":{"api":"x.API","deliver":"d"}}]}`, `"did_create":true`},
			{"STREAM.CREATE.Q", `{"name":"Q","storage":"memory","sources":[{"name":"P"},{"name":"O","external":{"api":"$JS.API","deliver":"d"}}]}`, `"err_code":10022,"description":"stream external delivery prefix d overlaps with stream subject d.\u003e"`},
			{"STREAM.CREATE.Q", `{"name":"Q","storage":"memory","sources":[{"name":"P"},{"name":"O","external":{"api":"$JS.API","deliver":"e"}}]}`, `"err_code":10021`},
			{"STREAM.CREATE.Q", `{"name":"Q","storage":"memory","mirror":{"name":"O","external":{"api":"x.API","deliver":"d..e"}}}`, `"err_code":10024`},
			{"STREAM.DELETE.P", ``, `"success":true`},
			// The subject's name counts.
			{"CONSUMER.DURABLE.CREATE.S.d", `{"stream_name":"S","config":{"durable_name":"d","name":"e"}}`, `"name":"d"`},
			{"CONSUMER.CREATE.S.d", `{"stream_name":"S","config":{"durable_name":"d","name":"e"}}`, `"name":"d"`},
			// These parse before they look at the level that is demanded.
			{"CONSUMER.CREATE.S.d", `{`, `"err_code":10025`, level},
			{"CONSUMER.PAUSE.S.d", `{`, `"err_code":10025`, level},
			{"CONSUMER.INFO.S.d", `x`, `"err_code":10038`, level},
			{"STREAM.DELETE.S", `x`, `"err_code":10185`, level},
			// What a server made for a source does not count.
			{"STREAM.CREATE.I", `{"name":"I","storage":"memory","retention":"interest","max_consumers":1}`, `"did_create":true`},
			{"CONSUMER.CREATE.I", `{"stream_name":"I","config":{"name":"JS_SRC_x","direct":true,"sourcing":true,"deliver_subject":"$JS.S.x"}}`, `"durable_name":"JS_SRC_x"`},
			{"CONSUMER.CREATE.I.c", `{"stream_name":"I","config":{"durable_name":"c"}}`, `"name":"c"`},
			{"CONSUMER.CREATE.I.d", `{"stream_name":"I","config":{"durable_name":"d"}}`, `"err_code":10026`},
			{"CONSUMER.CREATE.I.c", `{"stream_name":"I","config":{"durable_name":"c","description":"x"}}`, `"description":"x"`},
			// The stream's limits are defaults for what users make, whatever its acks.
			{"STREAM.CREATE.L", `{"name":"L","storage":"memory","retention":"interest","consumer_limits":{"inactive_threshold":60000000000}}`, `"did_create":true`},
			{"CONSUMER.CREATE.L.f", `{"stream_name":"L","config":{"durable_name":"f","ack_policy":"flow_control","deliver_subject":"d"}}`, `"inactive_threshold":60000000000`},
			{"CONSUMER.CREATE.L", `{"stream_name":"L","config":{"name":"JS_SRC_x","direct":true,"sourcing":true,"deliver_subject":"$JS.S.x"}}`, `"idle_heartbeat":1000000000,"num_replicas":0`},
			// Without a message of its subjects the last sequence is where it begins.
			{"CONSUMER.CREATE.S.l", `{"stream_name":"S","config":{"durable_name":"l","deliver_policy":"last_per_subject","filter_subject":"s.none"}}`, `"delivered":{"consumer_seq":0,"stream_seq":0}`},
			// There is one pin, whatever the number of groups.
			{"CONSUMER.CREATE.S.g", `{"stream_name":"S","config":{"name":"g","priority_policy":"overflow","priority_groups":["a","b"]}}`, `"priority_groups":[{"group":"a","pinned_ts":"0001-01-01T00:00:00Z"}]}`},
			// A reset is no request of the account's statistics.
			{"CONSUMER.RESET.S.d", `{"seq":"x"}`, `"err_code":10025`},
			{"INFO", ``, `"total":26,"errors":12}`},
			{"CONSUMER.RESET.S.d", ``, `"reset_seq":1`},
			{"INFO", ``, `"total":27,"errors":12}`},
			// The same consumer of an origin for different transforms.
			{"STREAM.CREATE.P", `{"name":"P","storage":"memory","sources":[{"name":"O","subject_transforms":[{"src":"a","dest":""}],"consumer":{"name":"c","deliver_subject":"x"}},` +
				`{"name":"O","subject_transforms":[{"src":"b","dest":""}],"consumer":{"name":"c","deliver_subject":"y"}}]}`, `"err_code":10216`},
			{"STREAM.CREATE." + long, `{"name":"` + long + `","storage":"memory"}`, `"did_create":true`},
			{"STREAM.DELETE." + long, ``, `"success":true`},
		} {
			c.want(r[2], "$JS.API."+r[0], r[1], r[3:]...)
		}
		for _, p := range []struct {
			want    string
			headers []string
		}{
			{`"seq":1}`, []string{"Nats-TTL: 9000000000"}}, // longer than time itself
			{`"seq":2}`, []string{"Nats-TTL: 2562047h"}},
			{`"err_code":10199`, []string{"Nats-Batch-Id: a", "Nats-Batch-Sequence: 1002", "Nats-Batch-Commit: eob"}},
			{`"err_code":10176`, []string{"Nats-Batch-Id: a", "Nats-Batch-Sequence: 1001", "Nats-Batch-Commit: eob"}},
			{`"err_code":10176`, []string{"Nats-Batch-Id: a", "Nats-Batch-Sequence: 0"}},
			{`"err_code":10175`, []string{"Nats-Batch-Id: a", "Nats-Batch-Sequence: -1"}},
		} {
			c.want(p.want, "s.a", "", p.headers...)
		}
		// Where nobody listens the subject is that of the API, unless the domain has none.
		for subject, absent := range map[string]string{
			"$JS.D.API.CONSUMER.MSG.NEXT.S.x": "$JS.API.CONSUMER.MSG.NEXT.S.x",
			"$JS.D.API.DIRECT.GET.X.a.b":      "$JS.API.DIRECT.GET.X.a.b",
			"$JS.D.API.INFO.x":                "$JS.D.API.INFO.x",
			"$JS.D.API.STREAM":                "$JS.D.API.STREAM",
			"$JS.D.API.OTHER.x":               "$JS.D.API.OTHER.x",
		} {
			if r := c.request(subject, ""); r.header != "NATS/1.0 503\r\nNats-Subject: "+absent+"\r\n\r\n" {
				t.Errorf("%s: %q", subject, r.header)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := a.Stream("S").state(false).Msgs; n != 2 {
			t.Errorf("%d messages with a long TTL are left", n)
		}
	})
}

// What is long, far away or outside of what can be told is bounded or refused at
// once: no request is without an answer.
func TestExtremeRequests(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, _ *Account, c *client) {
		many := func(n int, format string) string {
			var list []string
			for i := range n {
				list = append(list, fmt.Sprintf(format, i))
			}
			return strings.Join(list, ",")
		}
		for _, r := range [][]string{
			{"STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory","max_age":9223372036854775807}`, `"did_create":true`},
			{"CONSUMER.CREATE.S.c", `{"stream_name":"S","config":{"durable_name":"c"}}`, `"name":"c"`},
			// UTC is another year than the request's own zone.
			{"CONSUMER.PAUSE.S.c", `{"pause_until":"9999-12-31T23:59:59-23:59"}`, `"paused":true,"pause_until":"9999-12-31T23:59:59.999999999Z"`},
			{"CONSUMER.INFO.S.c", ``, `"pause_until":"9999-12-31T23:59:59.999999999Z"`},
			{"CONSUMER.PAUSE.S.c", `{"pause_until":"0000-01-01T00:00:00+23:59"}`, `"paused":false,"pause_until":"0000-01-01T00:00:00Z"`},
			{"CONSUMER.INFO.S.c", ``, `"pause_until":"0000-01-01T00:00:00Z"`},
			// Lists that are compared with each other.
			{"STREAM.CREATE.M", `{"name":"M","storage":"memory","retention":"workqueue","subjects":[` + many(10000, `"m.%d.*"`) + `]}`, `"did_create":true`},
			{"STREAM.CREATE.N", `{"name":"N","storage":"memory","subjects":[` + many(9999, `"n.*.%d"`) + `,"m.*.5"]}`, `"err_code":10065`},
			{"STREAM.CREATE.N", `{"name":"N","storage":"memory","subjects":["n.a","n.>","n.b"]}`, `"description":"subject \"n.a\" overlaps with \"n.\u003e\""`},
			{"STREAM.CREATE.N", `{"name":"N","storage":"memory","subjects":[` + many(10001, `"n.%d"`) + `]}`, `"err_code":10052,"description":"too many subjects, the limit is 10000"`},
			{"STREAM.CREATE.N", `{"name":"N","storage":"memory","sources":[` + many(2001, `{"name":"O%d"}`) + `]}`, `"err_code":10052,"description":"too many sources, the limit is 2000"`},
			{"STREAM.CREATE.N", `{"name":"N","storage":"memory","sources":[{"name":"O","subject_transforms":[` + many(10001, `{"src":"o.%d"}`) + `]}]}`, `"err_code":10052,"description":"too many subject transforms, the limit is 10000"`},
			{"STREAM.CREATE.N", `{"name":"N","storage":"memory","mirror":{"name":"O","subject_transforms":[` + many(10001, `{"src":"o.%d"}`) + `]}}`, `"err_code":10052,"description":"too many subject transforms, the limit is 10000"`},
			{"CONSUMER.CREATE.M.a", `{"stream_name":"M","config":{"durable_name":"a","ack_policy":"explicit","filter_subjects":[` + many(10000, `"m.%d.a"`) + `]}}`, `"name":"a"`},
			{"CONSUMER.CREATE.M.b", `{"stream_name":"M","config":{"durable_name":"b","ack_policy":"explicit","filter_subjects":[` + many(5000, `"m.%d.b"`) + `,"m.5.*"]}}`, `"err_code":10138`},
			{"CONSUMER.CREATE.M.b", `{"stream_name":"M","config":{"durable_name":"b","ack_policy":"explicit","filter_subjects":[` + many(5000, `"m.%d.b"`) + `,"m.5.a"]}}`, `"err_code":10100`},
			{"CONSUMER.CREATE.M.b", `{"stream_name":"M","config":{"durable_name":"b","ack_policy":"explicit","filter_subjects":[` + many(10001, `"m.%d.b"`) + `]}}`, `"err_code":10052,"description":"too many filter subjects, the limit is 10000"`},
		} {
			c.want(r[2], "$JS.API."+r[0], r[1])
		}
		c.want(`"seq":1}`, "s.a", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		c.want(`"messages":1`, "$JS.API.STREAM.INFO.S", "")
	})
}

// A schedule that is cancelled before it is visible ends all the same.
func TestCancelScheduleInFlight(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s.>"],"allow_msg_schedules":true`)
		c.p.Publish([]byte("s.plan"), nil, headerBlock([]string{"Nats-Schedule: @every 1s", "Nats-Schedule-Target: s.out"}), nil)
		c.p.Publish([]byte("s.stop"), nil, headerBlock([]string{"Nats-Scheduler: s.plan", "Nats-Schedule-Next: purge"}), nil)
		c.p.Flush()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := a.Stream("S").state(false); s.Msgs != 1 || s.LastSeq != 2 {
			t.Errorf("state %+v", s)
		}
	})
}

// A message that is in flight when its predecessor expires is not replaced by
// the delete marker.
func TestMarkerSparesNewMessage(t *testing.T) {
	disk := crashfs.New(1)
	inMemory(t, Options{FS: disk, StoreDir: "/store"}, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"max_age":100000000,"subject_delete_marker_ttl":1000000000}`)
		c.wantReply(`{"stream":"S","seq":1}`, "s", "old")
		st := a.Stream("S")
		time.Sleep(101 * time.Millisecond) // of the stream's age
		syncing, goOn := make(chan struct{}), make(chan struct{})
		disk.Inject(func(call crashfs.Call) error {
			if call.Kind == crashfs.Sync && strings.HasSuffix(call.Name, "1.blk") {
				select {
				case syncing <- struct{}{}:
					<-goOn
				case <-goOn:
				}
			}
			return nil
		})
		acks := c.subscribe("ack")
		c.publish("s", "ack", "new")
		<-syncing
		expired := make(chan struct{})
		st.do(func() {
			st.expire()
			close(expired)
		})
		close(goOn)
		<-expired
		if m := next(t, acks); m.data != `{"stream":"S","seq":2}` {
			t.Fatal(m.data)
		}
		// It is there until its own time has come.
		c.want(base64.StdEncoding.EncodeToString([]byte("new")), "$JS.API.STREAM.MSG.GET.S", `{"seq":2}`)
	})
}

// Archives of both versions become streams of either storage, with their
// consumers.
func TestRestoreIntoStorage(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"]}`)
	for i := range 5 {
		c.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d}`, i+1), "s.a", fmt.Sprint("m", i))
	}
	c.want(`"success":true`, "$JS.API.STREAM.MSG.DELETE.S", `{"seq":2}`)
	c.want(`"ack_policy":"explicit"`, "$JS.API.CONSUMER.CREATE.S.C", `{"stream_name":"S","config":{"name":"C","durable_name":"C","ack_policy":"explicit"}}`)
	in := c.subscribe("in")
	c.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", "in", "2")
	c.request(next(t, in).reply, "") // confirmed
	next(t, in)
	archives := snapshots(t, a.Stream("S"))
	for version, data := range archives {
		for _, storage := range []string{"file", "memory"} {
			t.Run(fmt.Sprint("v", version, " ", storage), func(t *testing.T) {
				c := newClient(t, c.bus)
				c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
				c.restore("S", `{"name":"S","subjects":["s.>"],"storage":"`+storage+`"}`, data)
				c.want(`"state":{"messages":4,`, "$JS.API.STREAM.INFO.S", `{"deleted_details":true}`)
				c.want(`"deleted":[2]`, "$JS.API.STREAM.INFO.S", `{"deleted_details":true}`)
				c.want(base64.StdEncoding.EncodeToString([]byte("m2")), "$JS.API.STREAM.MSG.GET.S", `{"seq":3}`)
				r := c.want(`"delivered":{"consumer_seq":2,"stream_seq":3`, "$JS.API.CONSUMER.INFO.S.C", "")
				if !strings.Contains(r.data, `"num_ack_pending":1`) || !strings.Contains(r.data, `"num_pending":2`) {
					t.Error(r.data)
				}
				if entries, err := a.engine.disk.fs.ReadDir(filepath.Dir(a.engine.disk.streamDir("A", "S"))); err != nil || len(entries) > 1 {
					t.Errorf("left behind: %v %v", entries, err)
				}
			})
		}
	}
}

// snapshots are a stream's archives, by version.
func snapshots(t *testing.T, st *Stream) map[int][]byte {
	t.Helper()
	archives := make(map[int][]byte)
	for version := 1; version <= 2; version++ {
		consumers, err := st.consumers.archive(version)
		if err == nil && version == 2 {
			consumers, err = snapshotConsumers(consumers)
		}
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := st.store.Snapshot(&b, msgstore.SnapshotOptions{Version: version, Consumers: consumers}); err != nil {
			t.Fatal(err)
		}
		archives[version] = b.Bytes()
	}
	return archives
}

// restore sends an archive and waits for the stream.
func (c *client) restore(name, config string, data []byte) {
	c.t.Helper()
	r := c.request("$JS.API.STREAM.RESTORE."+name, `{"config":`+config+`}`)
	var reply jsapi.StreamRestoreResponse
	if err := json.Unmarshal([]byte(r.data), &reply); err != nil || reply.Error != nil {
		c.t.Fatal(r.data)
	}
	to := reply.DeliverSubject
	for len(data) > 0 {
		n := min(len(data), 1<<10)
		c.request(to, string(data[:n]))
		data = data[n:]
	}
	c.want(`"state":`, to, "")
}

// A batch whose commit was interrupted on the reference server is completed from
// what that has staged, or cut off.
func TestInterruptedBatch(t *testing.T) {
	for _, test := range []struct {
		name   string
		staged []string // values of Nats-Batch-Commit
		stored int      // messages of the batch in the stream
		last   int      // of the stream afterwards, of which one is before the batch
	}{
		{"commit", []string{"", "", "1"}, 1, 4},
		{"end of batch", []string{"", "", "", "eob"}, 2, 4},
		{"no commit staged", []string{"", "", ""}, 2, 1},
		{"nothing staged", nil, 2, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			e, _, c := newTestEngine(t, Options{StoreDir: dir})
			c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"],"allow_atomic":true}`)
			c.wantReply(`{"stream":"S","seq":1}`, "s", "before")
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			h, err := msgstore.NewHost(dir, msgstore.HostOptions{})
			if err != nil {
				t.Fatal(err)
			}
			write := func(name, rel string, commits []string) {
				store, err := msgstore.OpenFileStore(h, msgstore.Config{Name: name, Storage: msgstore.FileStorage}, msgstore.FileOptions{Account: "A", Dir: rel})
				if err != nil {
					t.Fatal(err)
				}
				for i, commit := range commits {
					lines := []string{"Nats-Batch-Id: b", fmt.Sprint("Nats-Batch-Sequence: ", i+1), fmt.Sprint("Nats-Msg-Id: ", i+1)}
					if commit != "" {
						lines = append(lines, "Nats-Batch-Commit: "+commit)
					}
					if _, _, err := store.StoreMsg("s", headerBlock(lines), fmt.Append(nil, "m", i+1), 0); err != nil {
						t.Fatal(err)
					}
				}
				if err := store.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			write("S", "", make([]string, test.stored))
			batches := filepath.Join("jetstream", "A", "streams", "S", "batches")
			if test.staged != nil {
				write(shortHash("b"), filepath.Join(batches, shortHash("b")), test.staged)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			e, a, c := newTestEngine(t, Options{StoreDir: dir})
			c.want(fmt.Sprintf(`"last_seq":%d,`, test.last), "$JS.API.STREAM.INFO.S", "")
			if test.last > 1 {
				sm, err := a.Stream("S").store.LoadMsg(uint64(test.last), nil)
				if err != nil || string(sm.Data) != fmt.Sprint("m", test.last-1) || !strings.Contains(string(sm.Header), "Nats-Batch-Commit: 1\r\n") {
					t.Errorf("last message: %+v %v", sm, err)
				}
				c.wantReply(fmt.Sprintf(`{"stream":"S","seq":%d,"duplicate": true}`, test.last), "s", "", fmt.Sprint("Nats-Msg-Id: ", test.last-1))
			}
			if _, err := e.disk.fs.Stat(filepath.Join(dir, batches)); err == nil {
				t.Error("batches are still there")
			}
		})
	}
}

// Messages with some headers of a batch are none after a start: nothing is cut off.
func TestNoInterruptedBatch(t *testing.T) {
	for name, publish := range map[string]func(*client){
		"no id": func(c *client) { c.want(`"seq":4}`, "s.a", "", "Nats-Batch-Id:", "Nats-Batch-Sequence: 2") },
		"fast": func(c *client) {
			in := c.subscribe("in.>")
			c.publish("s.a", "in.f.2.ok.1.2.$FI", "", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 1")
			if r := next(c.t, in); r.data != `{"stream":"S","seq":4,"batch":"f","count":1}` {
				c.t.Fatal(r.data)
			}
		},
		"schedule": func(c *client) {
			c.publish("s.plan", "", "", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 1", "Nats-Schedule: @at 2000-01-01T00:00:00Z", "Nats-Schedule-Target: s.out")
			c.want(`"seq":5,"batch":"b","count":2}`, "s.a", "", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 2", "Nats-Batch-Commit: 1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e, a, c := newTestEngine(t, Options{StoreDir: dir})
			c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"allow_atomic":true,"allow_batched":true,"allow_msg_schedules":true}`)
			for i := range 3 {
				c.want(fmt.Sprintf(`"seq":%d}`, i+1), "s.a", "")
			}
			publish(c)
			if name == "schedule" {
				waitFor(t, func() bool { return a.Stream("S").state(false).LastSeq == 6 })
			}
			want := a.Stream("S").state(false).LastSeq
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			// As after a kill.
			if err := os.Remove(filepath.Join(dir, "jetstream", "A", "streams", "S", idsFile)); err != nil {
				t.Fatal(err)
			}
			_, a, _ = newTestEngine(t, Options{StoreDir: dir})
			if s := a.Stream("S").state(false); s.LastSeq != want {
				t.Errorf("the last sequence was %d and is %d", want, s.LastSeq)
			}
		})
	}
}

// A sealed stream takes nothing from its sources, and produces nothing.
func TestSealedStreamFetchesNothing(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("O", `"subjects":["o"]`)
		c.create("S", `"sources":[{"name":"O"}]`)
		c.create("P", `"subjects":["p.>"],"allow_msg_schedules":true`)
		c.want(`"seq":1}`, "o", "1")
		c.want(`"seq":1}`, "p.plan", "", "Nats-Schedule: @every 1h", "Nats-Schedule-Target: p.out")
		time.Sleep(time.Minute)
		synctest.Wait()
		const flags = `"storage":"memory","sealed":true,"deny_delete":true,"deny_purge":true`
		c.want(`"sealed":true`, "$JS.API.STREAM.UPDATE.S", `{"name":"S","sources":[{"name":"O"}],`+flags+`}`)
		c.want(`"sealed":true`, "$JS.API.STREAM.UPDATE.P", `{"name":"P","subjects":["p.>"],"allow_msg_schedules":true,`+flags+`}`)
		c.want(`"seq":2}`, "o", "2")
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		for _, name := range []string{"S", "P"} {
			if s := a.Stream(name).state(false); s.LastSeq != 1 {
				t.Errorf("%s has %+v", name, s)
			}
		}
	})
}

// With tiers the limits of a stream are those of its number of replicas.
func TestTiers(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		a.SetConfig(AccountConfig{Tiers: map[string]jsapi.AccountLimits{"R1": {MaxMemory: 1000, MaxStore: 0, MaxStreams: 1}, "R3": {MaxMemory: 5}}})
		c.want(`"err_code":10047`, "$JS.API.STREAM.CREATE.S", `{"name":"S"}`) // no bytes in files
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","storage":"memory","max_bytes":900}`)
		c.want(`"err_code":10027`, "$JS.API.STREAM.CREATE.T", `{"name":"T","storage":"memory"}`)
		c.wantReply(`{"stream":"S","seq":1}`, "S", "x")
		c.want(`"limits":{"max_memory":0,"max_storage":0,`, "$JS.API.INFO", "")
		c.want(`"tiers":{"R1":{"memory":18,"storage":0,"reserved_memory":900,"reserved_storage":0,"streams":1,"consumers":0,`, "$JS.API.INFO", "")
		c.want(`"R3":{"memory":0,`, "$JS.API.INFO", "")
		a.SetConfig(AccountConfig{Tiers: map[string]jsapi.AccountLimits{"R3": {}}})
		c.want(`"err_code":10120`, "$JS.API.STREAM.UPDATE.S", `{"name":"S","storage":"memory"}`)
	})
}

// A mirror whose origin comes late does not wait for its back-off to end.
func TestLateOrigin(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("M", `"mirror":{"name":"O"}`)
		time.Sleep(time.Second) // the first attempt has failed
		c.want(`"err_code":10059`, "$JS.API.STREAM.INFO.M", "")
		c.create("O", `"subjects":["o"],"first_seq":5`)
		c.want(`"seq":5}`, "o", "x")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := a.Stream("M").state(false); s.Msgs != 1 || s.FirstSeq != 5 {
			t.Errorf("mirror %+v", s)
		}
	})
}

// A request that contradicts itself is refused before its stream is looked for.
func TestMsgGetContradictions(t *testing.T) {
	_, _, c := newTestEngine(t, Options{})
	for _, body := range []string{`{}`, `{"seq":1,"last_by_subj":"a"}`, `{"seq":1,"batch":2}`, `{"last_by_subj":"a","next_by_subj":"b"}`} {
		c.want(`"err_code":10003`, "$JS.API.STREAM.MSG.GET.NOWHERE", body)
	}
	c.want(`"err_code":10059`, "$JS.API.STREAM.MSG.GET.NOWHERE", `{"seq":1}`)
}

// A client that goes on sending the archive of a stream does not keep the server
// from stopping.
func TestStopDuringRestore(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		r := c.want(`"deliver_subject"`, "$JS.API.STREAM.RESTORE.R", `{"config":{"name":"R","storage":"memory"}}`)
		var reply jsapi.StreamRestoreResponse
		if err := json.Unmarshal([]byte(r.data), &reply); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() {
			a.stop()
			close(stopped)
		}()
		synctest.Wait()
		c.publish(reply.DeliverSubject, "in", "\xff")
		synctest.Wait()
		select {
		case <-stopped:
		default:
			t.Fatal("waits for more of the archive")
		}
	})
}

// What a client may have under way is bounded, also where it costs no place in a queue.
func TestTooMuchUnderWay(t *testing.T) {
	inMemory(t, Options{RequestQueueLimit: 2}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"],"allow_direct":true`)
		a.engine.directBatches.Store(maxDirectBatches)
		if r := c.request("$JS.API.DIRECT.GET.S", `{"batch":1,"seq":1}`); r.header != "NATS/1.0 429 Too Many Requests\r\n\r\n" {
			t.Errorf("%q", r.header)
		}
		a.engine.directBatches.Add(-1)
		if r := c.request("$JS.API.DIRECT.GET.S", `{"batch":1,"seq":1}`); r.header != "NATS/1.0 404 Message Not Found\r\n\r\n" {
			t.Errorf("%q", r.header)
		}
		a.engine.transfers.Store(maxTransfers)
		c.want(`"err_code":10064,"description":"snapshot failed: too many snapshots and restores under way"`, "$JS.API.STREAM.SNAPSHOT.S", `{"deliver_subject":"d"}`)
		c.want(`"err_code":10062,"description":"restore failed: too many snapshots and restores under way"`, "$JS.API.STREAM.RESTORE.R", `{"config":{"name":"R","storage":"memory"}}`)
		a.engine.transfers.Add(-1)
		c.want(`"deliver_subject":"$JS.`, "$JS.API.STREAM.RESTORE.R", `{"config":{"name":"R","storage":"memory"}}`)
		time.Sleep(time.Minute) // it stalls
		synctest.Wait()
		if n := a.engine.transfers.Load(); n != maxTransfers-1 {
			t.Errorf("%d transfers are under way", n)
		}
		api := &a.engine.api
		api.held.Store(maxHeld)
		c.want(`"err_code":10167`, "$JS.API.STREAM.INFO.S", "")
		api.held.Store(0)
		c.want(`"name":"S"`, "$JS.API.STREAM.INFO.S", "")
		synctest.Wait() // they are given back behind the answer
		if held := api.held.Load(); held != 0 {
			t.Errorf("%d bytes are held when all is answered", held)
		}
		// Identical requests that share an execution wait, as others do.
		answers := c.subscribe("answers")
		a.mu.Lock()
		for i := range 5 {
			c.publish("$JS.API.STREAM.CREATE.T", "answers", `{"name":"T","storage":"memory"}`)
			for i == 0 && a.engine.Usage().QueuedRequests > 0 {
				runtime.Gosched() // it does not wait any more
			}
		}
		for range 2 {
			if r := next(t, answers); !strings.Contains(r.data, `"err_code":10167`) {
				t.Error(r.data)
			}
		}
		a.mu.Unlock()
		for range 3 {
			if r := next(t, answers); !strings.Contains(r.data, `"did_create":true`) {
				t.Error(r.data)
			}
		}
		if n := a.engine.api.sharers; n != 0 {
			t.Errorf("%d requests share", n)
		}
	})
}

// A purge and a deletion that wait while the stream is sealed are refused.
func TestSealedMeanwhile(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, a *Account, c *client) {
		c.create("S", `"subjects":["s"]`)
		c.want(`"seq":1}`, "s", "")
		goOn := make(chan struct{})
		a.Stream("S").do(func() { <-goOn })
		answers := c.subscribe("answers")
		for _, r := range [][2]string{
			{"UPDATE", `{"name":"S","subjects":["s"],"storage":"memory","sealed":true,"deny_delete":true,"deny_purge":true}`},
			{"PURGE", ""}, {"MSG.DELETE", `{"seq":1}`},
		} {
			c.publish("$JS.API.STREAM."+r[0]+".S", "answers", r[1])
			synctest.Wait()
		}
		close(goOn)
		refused := 0
		for range 3 {
			if r := next(t, answers); strings.Contains(r.data, `"err_code":10109`) {
				refused++
			}
		}
		if refused != 2 {
			t.Errorf("%d were refused", refused)
		}
		stateIs(t, a, "S", "1 messages 1-1 without []")
	})
}

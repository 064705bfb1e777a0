package jetstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// impossibleConsumers are configurations that no server has made for a consumer k, and
// what is wrong with them.
var impossibleConsumers = map[string]string{
	`"ack_policy":"explicit","deliver_policy":"by_start_time"`:                              "consumer delivery policy is deliver by start time, but optional start time is not set",
	`"ack_policy":"explicit","filter_subject":"a..b"`:                                       "invalid subject",
	`"ack_policy":"explicit","filter_subjects":["a","a"]`:                                   "consumer subject filters cannot overlap",
	`"ack_policy":"explicit","backoff":[-1]`:                                                "consumer backoff needs to be positive",
	`"ack_policy":"explicit","ack_wait":-1`:                                                 "consumer ack wait needs to be positive",
	`"ack_policy":"explicit","deliver_subject":"a.>"`:                                       "consumer deliver subject has wildcards",
	`"ack_policy":"explicit","deliver_subject":"a b"`:                                       "invalid push consumer deliver subject",
	`"ack_policy":"explicit","name":"other"`:                                                "Consumer Durable and Name have to be equal if both are provided",
	`"ack_policy":"flow_control"`:                                                           "flow control ack policy requires a push based consumer",
	`"ack_policy":"explicit","priority_policy":"pinned_client","priority_timeout":1`:        "Setting PriorityPolicy requires at least one PriorityGroup to be set",
	`"ack_policy":"explicit","description":"` + strings.Repeat("x", 5000) + `"`:             "consumer description is too long, maximum allowed is 4096",
	`"ack_policy":"explicit","metadata":{"a":"` + strings.Repeat("x", 131072) + `"}`:        "consumer metadata exceeds maximum size of 128KB",
	`"ack_policy":"explicit","deliver_policy":"last","opt_start_seq":1`:                     "consumer delivery policy is deliver last, but optional start sequence is also set",
	`"ack_policy":"explicit","deliver_subject":"d","direct":true,"durable_name":"k"`:        "consumer direct requires an ephemeral consumer",
	`"ack_policy":"explicit","sample_freq":"often"`:                                         `failed to parse consumer sampling configuration: strconv.Atoi: parsing "often": invalid syntax`,
	`"ack_policy":"explicit","deliver_subject":"d","flow_control":true`:                     "consumer with flow control also needs heartbeats",
	`"ack_policy":"explicit","deliver_policy":"last_per_subject"`:                           "consumer delivery policy is deliver last per subject, but optional filter subject is not set",
	`"ack_policy":"explicit","durable_name":"k","name":"k","max_deliver":1,"backoff":[1,2]`: "max deliver is required to be > length of backoff values",
}

// An archive with a consumer that cannot be is refused, and leaves nothing.
func TestRestoreImpossibleConsumer(t *testing.T) {
	created := time.Unix(1, 0).UTC()
	for config, why := range impossibleConsumers {
		var state consumerstate.State
		state.Delivered, state.AckFloor = consumerstate.Pair{Consumer: 1, Stream: 1}, consumerstate.Pair{Consumer: 1, Stream: 1}
		stateJSON, err := json.Marshal(&state)
		if err != nil {
			t.Fatal(err)
		}
		var second bytes.Buffer
		w := archive.NewWriter(&second)
		w.State([]byte(`{"messages":1,"first_seq":1,"last_seq":1,"consumer_count":1}`))
		w.Consumer("k", fmt.Appendf(nil, `{"config":{%s},"state":%s}`, config, stateJSON))
		w.Message("s", 1, 1, nil, []byte("x"))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, storage := range []string{"file", "memory"} {
			inMemory(t, Options{FS: crashfs.New(1), StoreDir: "/s"}, func(t *testing.T, a *Account, c *client) {
				c.refuseRestore(storage, why, second.Bytes())
			})
			inMemory(t, Options{FS: crashfs.New(1), StoreDir: "/s"}, func(t *testing.T, a *Account, c *client) {
				c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
				c.want(`"seq":1}`, "s", "x")
				var first bytes.Buffer
				meta := fmt.Appendf(nil, `{"created":%q,"Name":"k",%s}`, created.Format(time.RFC3339), strings.Replace(config, `"name":`, `"durable_name":`, 1))
				err := a.Stream("S").store.Snapshot(&first, msgstore.SnapshotOptions{Version: 1, Consumers: []msgstore.SnapshotConsumer{
					{Name: "k", Meta: meta, State: state.Append(nil, created.UnixNano())},
				}})
				if err != nil {
					t.Fatal(err)
				}
				c.want(`"success":true`, "$JS.API.STREAM.DELETE.S", "")
				c.refuseRestore(storage, why, first.Bytes())
			})
		}
	}
}

func (c *client) refuseRestore(storage, why string, data []byte) {
	c.t.Helper()
	r := c.request("$JS.API.STREAM.RESTORE.S", `{"config":{"name":"S","subjects":["s"],"storage":"`+storage+`"}}`)
	var reply jsapi.StreamRestoreResponse
	if err := json.Unmarshal([]byte(r.data), &reply); err != nil || reply.Error != nil {
		c.t.Fatal(r.data)
	}
	c.request(reply.DeliverSubject, string(data))
	text, err := json.Marshal("restore failed: consumer k: " + why)
	if err != nil {
		c.t.Fatal(err)
	}
	c.want(`"error":{"code":500,"err_code":10062,"description":`+string(text)+`}`, reply.DeliverSubject, "")
	c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["t"],"storage":"`+storage+`"}`)
}

// A consumer that cannot be is not served from files either; the others are.
func TestRecoverImpossibleConsumer(t *testing.T) {
	o := Options{FS: crashfs.New(1), StoreDir: "/s"}
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		c.want(`"did_create":true`, "$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s"]}`)
		for _, name := range []string{"k", "l"} {
			c.want(`"name":"`+name+`"`, "$JS.API.CONSUMER.CREATE.S."+name, `{"stream_name":"S","config":{"name":"`+name+`","durable_name":"`+name+`","ack_policy":"explicit"}}`)
		}
		k := a.Stream("S").consumers.get([]byte("k"))
		cfg := *k.config.Load()
		cfg.DeliverPolicy = jsapi.DeliverByStartTime
		if err := k.log.writeMeta(&cfg); err != nil {
			t.Fatal(err)
		}
	})
	inMemory(t, o, func(t *testing.T, a *Account, c *client) {
		c.publish("$JS.API.CONSUMER.RESET.S.k", "", `{"seq":2}`)
		synctest.Wait()
		c.want(`"consumers":["l"]`, "$JS.API.CONSUMER.NAMES.S", "")
		c.want(`"name":"l"`, "$JS.API.CONSUMER.INFO.S.l", "")
		c.want(`"name":"k"`, "$JS.API.CONSUMER.CREATE.S.k", `{"stream_name":"S","config":{"name":"k","durable_name":"k","ack_policy":"explicit"}}`)
	})
}

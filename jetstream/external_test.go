package jetstream

import (
	"encoding/json"
	"fmt"
	"testing/synctest"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// testOrigin is the origin O of a stream behind the API prefix X, played by the test.
type testOrigin struct {
	client    *client
	requests  <-chan received // for consumers
	deliver   string          // where the consumer delivers
	delivered int
}

// externalOrigin makes a stream, in memory unless config says else, which has O as its
// external origin, and answers its request for a consumer.
func (c *client) externalOrigin(name, config string) *testOrigin {
	c.t.Helper()
	o := &testOrigin{client: c, requests: c.subscribe("X.CONSUMER.CREATE.O")}
	c.create(name, config)
	o.accept("")
	return o
}

// accept answers the next request for a consumer, with more members of the answer.
func (o *testOrigin) accept(more string) {
	o.client.t.Helper()
	r := next(o.client.t, o.requests)
	var q jsapi.ConsumerCreateRequest
	if err := json.Unmarshal([]byte(r.data), &q); err != nil {
		o.client.t.Fatal(err)
	}
	o.deliver, o.delivered = q.Config.DeliverSubject, 0
	o.client.publish(r.reply, "", `{"type":"io.nats.jetstream.api.v1.consumer_create_response","name":"c","config":{"deliver_subject":"`+o.deliver+`"}`+more+`}`)
	synctest.Wait()
}

// send delivers messages by their sequences at the origin.
func (o *testOrigin) send(seqs ...uint64) {
	for _, seq := range seqs {
		o.sendMsg(seq, "", "x")
	}
}

// sendMsg delivers a message; header is its whole header block.
func (o *testOrigin) sendMsg(seq uint64, header, data string) {
	o.stage(seq, header, data)
	synctest.Wait()
}

// stage is sendMsg without waiting.
func (o *testOrigin) stage(seq uint64, header, data string) {
	o.delivered++
	reply := fmt.Sprintf("$JS.ACK.O.c.1.%d.%d.946684800000000000.0", seq, o.delivered)
	o.client.p.Publish([]byte(o.deliver), []byte(reply), []byte(header), []byte(data))
	o.client.p.Flush()
}

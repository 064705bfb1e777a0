package main_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Duplicates are counted for the whole server, and outlive their stream.
func TestDuplicatesAreCounted(t *testing.T) {
	s, _, js, ctx := jetStream(t, `http: "127.0.0.1:-1"`)
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))(t)
	for _, id := range []string{"a", "b", "a", "a"} {
		must(js.Publish(ctx, "s", nil, jetstream.WithMsgID(id)))(t)
	}
	counts := func() string {
		r := must(http.Get(s.http + "/debug/vars"))(t)
		defer r.Body.Close()
		var vars struct{ JetStream json.RawMessage }
		check(t, json.NewDecoder(r.Body).Decode(&vars))
		return string(vars.JetStream)
	}
	if got, want := counts(), `{"deduplicated":2,"dedup_ids":2}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	check(t, js.DeleteStream(ctx, "S"))
	if got, want := counts(), `{"deduplicated":2,"dedup_ids":0}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

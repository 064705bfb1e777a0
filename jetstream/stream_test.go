package jetstream

import (
	"strings"
	"testing"

	"github.com/natsd/natsd/jetstream/jsapi"
)

var unlimited = jsapi.Unlimited

func TestPublishInMemory(t *testing.T) {
	_, a, c := newTestEngine(t, Options{})
	r := c.request("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"],"storage":"memory","allow_rollup_hdrs":true,"allow_direct":true}`)
	if !strings.Contains(r.data, `"did_create":true`) {
		t.Fatal(r.data)
	}
	c.wantReply(`{"stream":"S","seq":1}`, "s.a", "one")
	c.wantReply(`{"stream":"S","seq":2}`, "s.b", "two", "Nats-Msg-Id: x")
	c.wantReply(`{"stream":"S","seq":2,"duplicate": true}`, "s.b", "two", "Nats-Msg-Id: x")
	c.wantReply(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 2"},"stream":"S","seq":0}`, "s.b", "", "Nats-Expected-Last-Sequence: 7")
	c.wantReply(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"},"stream":"S","seq":0}`, "s.a", "", "Nats-Expected-Last-Subject-Sequence: 0")
	c.wantReply(`{"stream":"S","seq":3}`, "s.a", "three", "Nats-Expected-Last-Subject-Sequence: 1", "Nats-Rollup: sub")
	r = c.request("$JS.API.STREAM.INFO.S", "")
	if !strings.Contains(r.data, `"state":{"messages":2,`) {
		t.Error(r.data)
	}
	if r = c.request("$JS.API.DIRECT.GET.S.s.a", ""); r.data != "three" || !strings.Contains(r.header, "Nats-Sequence: 3\r\n") {
		t.Error(r)
	}
	c.wantReply(`{"type":"io.nats.jetstream.api.v1.stream_purge_response","success":true,"purged":2}`, "$JS.API.STREAM.PURGE.S", "")
	c.wantReply(`{"stream":"S","seq":4}`, "s.a", "four")
	c.wantReply(`{"type":"io.nats.jetstream.api.v1.stream_delete_response","success":true}`, "$JS.API.STREAM.DELETE.S", "")
	if n := len(a.Streams()); n != 0 {
		t.Errorf("%d streams", n)
	}
	c.wantReply(`{"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"offset":0,"limit":1024,"streams":null}`, "$JS.API.STREAM.NAMES", "")
	c.wantReply(`{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404,"err_code":10059,"description":"stream not found"},"total":0,"offset":0,"limit":0}`, "$JS.API.STREAM.INFO.S", "")
}

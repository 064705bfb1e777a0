package options

import (
	"fmt"
	"math"
	"time"

	"github.com/natsd/natsd/server/conf"
)

var mqttTable = newTable("mqtt",
	listen("listen", func(o *Options) (*string, *int) { return &o.MQTT.Host, &o.MQTT.Port }).doc("host and port"),
	str("host", func(o *Options) *string { return &o.MQTT.Host }).alias("net").def(`"0.0.0.0"`).doc("host"),
	integer("port", func(o *Options) *int { return &o.MQTT.Port }).limits("-1 is a random port").def("off").doc("port"),
	custom("tls", "block", func(r *reader, e *conf.Entry, o *Options) (err error) {
		o.MQTT.TLS, err = r.tls(e, tlsServer)
		return err
	}).of(tlsTable).doc("TLS").live(""),
	listenerAuthorization(func(o *Options) *ListenerAuthorization { return &o.MQTT.Authorization }),
	str("no_auth_user", func(o *Options) *string { return &o.MQTT.NoAuthUser }).doc("user of clients without credentials"),
	orDefaultDuration("ack_wait", func(o *Options) *time.Duration { return &o.MQTT.AckWait }).alias("ackwait").
		doc("time before an unacknowledged message is sent again").live("MQTT ack_wait"),
	orDefaultDuration("js_api_timeout", func(o *Options) *time.Duration { return &o.MQTT.JSAPITimeout }).alias("api_timeout").since("2.11.4").
		doc("time for an answer of JetStream"),
	custom("max_ack_pending", "integer", func(_ *reader, e *conf.Entry, o *Options) error {
		n, err := asInt(e.Value)
		if err != nil {
			return err
		}
		if n < 0 || n > math.MaxUint16 {
			return fmt.Errorf("invalid value %d, should in [0..%d] range", n, math.MaxUint16)
		}
		o.MQTT.MaxAckPending = n
		return nil
	}).alias("max_pending", "max_inflight").limits("0..65535").def("1024").
		doc("unacknowledged messages of a session").live("MQTT max_ack_pending"),
	str("js_domain", func(o *Options) *string { return &o.MQTT.JSDomain }).doc("JetStream domain of sessions and messages"),
	integer("stream_replicas", func(o *Options) *int64 { return &o.MQTT.StreamReplicas }).def("cluster size, at most 3").
		doc("replicas of the streams of sessions and messages").live("MQTT stream_replicas"),
	custom("consumer_replicas", "integer", func(r *reader, e *conf.Entry, _ *Options) error {
		_, err := asInt(e.Value)
		r.misuse(e.Pos, e.Key, "consumer replicas setting ignored in this server version")
		return err
	}).doc("ignored").live("MQTT consumer_replicas"),
	boolean("consumer_memory_storage", func(o *Options) *bool { return &o.MQTT.ConsumerMemoryStorage }).
		doc("keep the state of consumers in memory").live("MQTT consumer_memory_storage"),
	duration("consumer_inactive_threshold", func(o *Options) *time.Duration { return &o.MQTT.ConsumerInactiveThreshold }).alias("consumer_auto_cleanup").
		doc("time before an unused consumer is deleted").live("MQTT consumer_inactive_threshold"),
	boolean("reject_qos2_publish", func(o *Options) *bool { return &o.MQTT.RejectQoS2Publish }).since("2.10.4").
		doc("refuse messages with QoS 2"),
	boolean("downgrade_qos2_subscribe", func(o *Options) *bool { return &o.MQTT.DowngradeQoS2Subscribe }).since("2.10.4").
		doc("grant QoS 1 when QoS 2 is asked for"),
)

func readMQTT(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return fmt.Errorf("Expected mqtt to be a map, got %s", e.Value.Kind)
	}
	mqttTable.read(r, e, o)
	return nil
}

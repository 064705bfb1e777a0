package operator

import (
	"reflect"
	"testing"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/server/options"
)

// What claims allow an account to store: nothing, limits, or limits for each
// replication tier.
func TestJetStreamOfClaims(t *testing.T) {
	none := int64(jwt.NoLimit)
	for _, c := range []struct {
		name   string
		limits jwt.OperatorLimits
		want   *options.AccountJetStream
	}{
		{"nothing", jwt.OperatorLimits{}, nil},
		{"limits", jwt.OperatorLimits{JetStreamLimits: jwt.JetStreamLimits{MemoryStorage: 1, DiskStorage: none, Streams: 3}}, &options.AccountJetStream{
			MaxMemory: 1, MaxStore: -1, MaxStreams: 3, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
		}},
		{"tiers", jwt.OperatorLimits{JetStreamTieredLimits: jwt.JetStreamTieredLimits{
			"R1": {DiskStorage: 10, Consumer: 2}, "R3": {MemoryStorage: 5, MaxBytesRequired: true},
		}}, &options.AccountJetStream{Tiers: map[string]options.AccountJetStream{
			"R1": {MaxStore: 10, MaxStreams: -1, MaxConsumers: 2, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1},
			"R3": {MaxMemory: 5, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1, MaxBytesRequired: true},
		}}},
	} {
		a := &Account{Claims: &jwt.AccountClaims{}}
		a.Claims.Limits = c.limits
		if got := a.JetStream(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

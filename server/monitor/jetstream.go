package monitor

import (
	"path/filepath"
	"time"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/options"
)

// JetStreamVarz is what /varz and the periodic statistics say of JetStream.
type JetStreamVarz struct {
	Config *JetStreamConfig `json:"config,omitempty"`
	Stats  *JetStreamStats  `json:"stats,omitempty"`
	Limits *JetStreamLimits `json:"limits,omitempty"`
}

// JetStreamConfig is the configuration of JetStream.
type JetStreamConfig struct {
	MaxMemory    int64         `json:"max_memory"`
	MaxStore     int64         `json:"max_storage"`
	StoreDir     string        `json:"store_dir,omitempty"`
	SyncInterval time.Duration `json:"sync_interval,omitempty"`
	SyncAlways   bool          `json:"sync_always,omitempty"`
	Domain       string        `json:"domain,omitempty"`
	CompressOK   bool          `json:"compress_ok,omitempty"`
	UniqueTag    string        `json:"unique_tag,omitempty"`
	Strict       bool          `json:"strict,omitempty"`
}

// JetStreamStats is the use of JetStream. Sizes are bytes.
type JetStreamStats struct {
	Memory         uint64         `json:"memory"`
	Store          uint64         `json:"storage"`
	ReservedMemory uint64         `json:"reserved_memory"`
	ReservedStore  uint64         `json:"reserved_storage"`
	Accounts       int            `json:"accounts"`
	HAAssets       int            `json:"ha_assets"`
	API            jsapi.APIStats `json:"api"`
}

// JetStreamLimits are the server's limits for assets.
type JetStreamLimits struct {
	MaxRequestBatch       int64         `json:"max_request_batch,omitempty"`
	MaxAckPending         int64         `json:"max_ack_pending,omitempty"`
	MaxHAAssets           int64         `json:"max_ha_assets,omitempty"`
	MaxDuplicateWindow    time.Duration `json:"max_duplicate_window,omitempty"`
	MaxBatchInflightPer   int64         `json:"max_batch_inflight_per_stream,omitempty"`
	MaxBatchInflightTotal int64         `json:"max_batch_inflight_total,omitempty"`
	MaxBatchSize          int64         `json:"max_batch_size,omitempty"`
	MaxBatchTimeout       time.Duration `json:"max_batch_timeout,omitempty"`
}

func (m *Monitor) jetStreamVarz(o *options.Options, dir bool) JetStreamVarz {
	js := m.src.JetStream()
	if js == nil {
		return JetStreamVarz{}
	}
	c := jetStreamConfig(js, o)
	if !dir {
		c.StoreDir = ""
	}
	stats := m.jetStreamStats(js)
	return JetStreamVarz{Config: &c, Stats: &stats, Limits: jetStreamLimits(o)}
}

func jetStreamConfig(js *jetstream.Engine, o *options.Options) JetStreamConfig {
	j, used := &o.JetStream, js.Options()
	return JetStreamConfig{
		MaxMemory: used.MaxMemory, MaxStore: used.MaxStore, StoreDir: filepath.Join(used.StoreDir, "jetstream"),
		SyncInterval: j.SyncInterval, SyncAlways: j.SyncAlways, Domain: j.Domain, CompressOK: true, UniqueTag: j.UniqueTag, Strict: j.Strict,
	}
}

func jetStreamLimits(o *options.Options) *JetStreamLimits {
	l := &o.JetStream.Limits
	return &JetStreamLimits{
		MaxRequestBatch: l.MaxRequestBatch, MaxAckPending: l.MaxAckPending, MaxHAAssets: l.MaxHAAssets, MaxDuplicateWindow: l.DuplicateWindow,
		MaxBatchInflightPer: l.Batch.MaxInflightPerStream, MaxBatchInflightTotal: l.Batch.MaxInflightTotal,
		MaxBatchSize: l.Batch.MaxMsgs, MaxBatchTimeout: l.Batch.Timeout,
	}
}

func (m *Monitor) jetStreamStats(js *jetstream.Engine) JetStreamStats {
	u := js.Usage()
	s := JetStreamStats{
		Memory: u.Memory, Store: u.Store, ReservedMemory: u.ReservedMemory, ReservedStore: u.ReservedStore,
		API: jsapi.APIStats{Level: jsapi.Level, Inflight: u.APIInflight},
	}
	for _, a := range js.Accounts() {
		if !a.Enabled() {
			continue
		}
		s.Accounts++
		api := a.APIStats()
		s.API.Total += api.Total
		s.API.Errors += api.Errors
	}
	return s
}

// jetStreamEnabled tells whether an account may use JetStream.
func (m *Monitor) jetStreamEnabled(a *account.Account) bool {
	js := m.src.JetStream()
	if js == nil {
		return false
	}
	ja := js.Account(a.Name())
	return ja != nil && ja.Enabled()
}

package options

import (
	"fmt"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// Bounds of max_concurrent_io.
const (
	minConcurrentIO = 4
	maxConcurrentIO = 8192
)

// storageSize reads a size; name is what errors call it.
func storageSize(key, name string, at func(*Options) *int64) *row[Options] {
	r := custom(key, "size", func(_ *reader, e *conf.Entry, o *Options) error {
		n, err := asSize(name, e.Value)
		if err != nil {
			return err
		}
		*at(o) = n
		return nil
	})
	r.get = func(o *Options) any { return *at(o) }
	return r
}

// absolute refuses negative sizes.
func absolute(at func(*Options) *int64) func(string, *Options) error {
	return func(key string, o *Options) error {
		if *at(o) < 0 {
			return fmt.Errorf("Expected an absolute size for %q, got %d", key, *at(o))
		}
		return nil
	}
}

var jetStreamTable = func() *table[Options] {
	t := newTable("jetstream",
		custom("store_dir", "string", readStoreDir).alias("store", "storedir").def("`<tmp>/nats`").
			doc("directory; the data is in `jetstream` below it").fixed("StoreDir"),
		storageSize("max_memory_store", "max_mem_store", func(o *Options) *int64 { return &o.JetStream.MaxMemory }).alias("max_mem_store", "max_mem").
			def("75% of memory").doc("bytes of all streams in memory; 0 is none").partial("", "JetStream max_mem_store", "may grow"),
		storageSize("max_file_store", "max_file_store", func(o *Options) *int64 { return &o.JetStream.MaxStore }).alias("max_file").
			def("75% of free disk").doc("bytes of all streams in files; 0 is none").partial("", "JetStream max_file_store", "may grow"),
		str("domain", func(o *Options) *string { return &o.JetStream.Domain }).since("2.2.3").
			doc("domain: a name for the JetStream of this server or cluster").limits("no spaces, `.`, `*`, `>`").fixed("JetStreamDomain"),
		boolean("enabled", func(o *Options) *bool { return &o.JetStream.Enabled }).alias("enable").def("true").
			doc("have JetStream").live("JetStream"),
		custom("strict", "boolean", func(_ *reader, e *conf.Entry, o *Options) error {
			if e.Value.Kind != conf.Bool {
				return fmt.Errorf("Expected 'true' or 'false' for bool value, got '%v'", e.Value)
			}
			o.JetStream.Strict = e.Value.Bool
			return nil
		}).since("2.11").def("true").doc("refuse API requests with unknown fields").fixed("NoJetStreamStrict"),
		custom("sync_interval", "duration or `always`", readSyncInterval).alias("sync").since("2.10").def("`always`").
			doc("time between syncs of files; `always` acknowledges a message when it is on disk. With a duration acknowledged messages can be lost on power failure").fixed("SyncInterval"),
		str("key", func(o *Options) *string { return &o.JetStream.Key }).alias("ek", "encryption_key").since("2.3").secret().
			doc("key for encryption at rest").fixed("JetStreamKey"),
		str("prev_key", func(o *Options) *string { return &o.JetStream.PrevKey }).alias("prev_ek", "prev_encryption_key").since("2.10").secret().
			doc("key before `key`, to change it").fixed("JetStreamOldKey"),
		custom("cipher", "string", func(_ *reader, e *conf.Entry, o *Options) (err error) {
			o.JetStream.Cipher, err = readCipher(e)
			return err
		}).value(func(o *Options) any { return o.JetStream.Cipher }).since("2.9").def(`"chacha"`).doc("cipher for encryption at rest: `chacha` or `aes`").fixed("JetStreamCipher"),
		custom("tpm", "block", func(r *reader, e *conf.Entry, o *Options) error {
			if err := asMap(e.Value); err != nil {
				return err
			}
			o.JetStream.TPM = &TPM{}
			tpmTable.read(r, e, o.JetStream.TPM)
			return nil
		}).of(tpmTable).since("2.11").doc("key in a Windows TPM").fixed("JetStreamTpm"),
		str("extension_hint", func(o *Options) *string { return &o.JetStream.ExtensionHint }).since("2.7").
			doc("`will_extend` or `no_extend`: whether leaf nodes share this JetStream").fixed("JetStreamExtHint"),
		custom("unique_tag", "string", func(_ *reader, e *conf.Entry, o *Options) error {
			s, err := asString(e.Value)
			o.JetStream.UniqueTag = strings.ToLower(strings.TrimSpace(s))
			return err
		}).value(func(o *Options) any { return o.JetStream.UniqueTag }).since("2.8").doc("beginning of tags that the servers of a stream must not share").fixed("JetStreamUniqueTag"),
		custom("limits", "block", func(r *reader, e *conf.Entry, o *Options) error {
			if e.Value.Kind != conf.Map {
				return fmt.Errorf("Expected a map to define JetStreamLimits, got %s", e.Value.Kind)
			}
			return jetStreamLimitsTable.read(r, e, &o.JetStream.Limits)
		}).of(jetStreamLimitsTable).since("2.8").doc("limits of what streams and consumers may ask").fixed("JetStreamLimits"),
		storageSize("max_outstanding_catchup", "max_outstanding_catchup", func(o *Options) *int64 { return &o.JetStream.MaxOutstandingCatchup }).since("2.9").
			def("64 MB").doc("bytes on the way to replicas that catch up").fixed("JetStreamMaxCatchup"),
		storageSize("max_buffered_size", "max_buffered_size", func(o *Options) *int64 { return &o.JetStream.MaxBufferedSize }).since("2.11").
			doc("bytes in the inbound queue of a stream").fixed("StreamMaxBufferedSize"),
		custom("max_buffered_msgs", "integer", func(_ *reader, e *conf.Entry, o *Options) error {
			if e.Value.Kind != conf.Int {
				return fmt.Errorf("Expected a parseable size for %q, got %v", e.Key, e.Value)
			}
			o.JetStream.MaxBufferedMsgs = e.Value.Int
			return nil
		}).value(func(o *Options) any { return o.JetStream.MaxBufferedMsgs }).since("2.11").def("100000").doc("messages in the inbound queue of a stream").fixed("StreamMaxBufferedMsgs"),
		integer("request_queue_limit", func(o *Options) *int64 { return &o.JetStream.RequestQueueLimit }).since("2.10.21").limits("0 and below are the default").
			doc("waiting API requests").fixed("JetStreamRequestQueueLimit"),
		integer("info_queue_limit", func(o *Options) *int64 { return &o.JetStream.InfoQueueLimit }).since("2.14").def("`request_queue_limit`").
			doc("waiting API requests for information").fixed("JetStreamInfoQueueLimit"),
		integer("meta_compact", func(o *Options) *int64 { return &o.JetStream.MetaCompact }).since("2.11.12").limits("0..").
			doc("entries of the meta group's log before it is compacted").live("").
			check(absolute(func(o *Options) *int64 { return &o.JetStream.MetaCompact })),
		storageSize("meta_compact_size", "meta_compact_size", func(o *Options) *int64 { return &o.JetStream.MetaCompactSize }).since("2.11.12").limits("0..").
			doc("bytes of the meta group's log before it is compacted").live("").
			check(absolute(func(o *Options) *int64 { return &o.JetStream.MetaCompactSize })),
		boolean("meta_compact_sync", func(o *Options) *bool { return &o.JetStream.MetaCompactSync }).since("2.12.5").
			doc("compact the meta group's log at once").live(""),
		integer("max_concurrent_io", func(o *Options) *int64 { return &o.JetStream.MaxConcurrentIO }).since("2.12.15").limits("4..8192").
			doc("file operations at a time").fixed("JetStreamConcurrentIOs").
			check(func(key string, o *Options) error {
				if n := o.JetStream.MaxConcurrentIO; n < minConcurrentIO || n > maxConcurrentIO {
					return fmt.Errorf("Expected an absolute size for %q between %d and %d, got %d", key, minConcurrentIO, maxConcurrentIO, n)
				}
				return nil
			}),
	)
	t.atBlock = true
	t.stops = true
	return t
}()

var jetStreamLimitsTable = func() *table[JetStreamLimits] {
	t := newTable("limits",
		integer("max_ack_pending", func(l *JetStreamLimits) *int64 { return &l.MaxAckPending }).doc("unacknowledged messages of a consumer").def("unlimited"),
		integer("max_ha_assets", func(l *JetStreamLimits) *int64 { return &l.MaxHAAssets }).doc("replicated streams and consumers of a server").def("unlimited"),
		integer("max_request_batch", func(l *JetStreamLimits) *int64 { return &l.MaxRequestBatch }).doc("messages in one pull").def("unlimited"),
		durationLimit("duplicate_window", func(l *JetStreamLimits) *time.Duration { return &l.DuplicateWindow }).doc("duplicate window of a stream").def("unlimited"),
		custom("batch", "block", func(r *reader, e *conf.Entry, l *JetStreamLimits) error {
			if e.Value.Kind != conf.Map {
				return fmt.Errorf("Expected a map to define batch limits, got %s", e.Value.Kind)
			}
			return batchLimitsTable.read(r, e, &l.Batch)
		}).of(batchLimitsTable).since("2.12").doc("limits of batched publishing"),
	)
	t.outward = true
	return t
}()

// durationLimit reads a duration whose error has no position.
func durationLimit[T any](name string, at func(*T) *time.Duration) *row[T] {
	return custom(name, "duration text", func(_ *reader, e *conf.Entry, l *T) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return errPlain{err}
		}
		*at(l) = d
		return nil
	})
}

var batchLimitsTable = func() *table[BatchLimits] {
	t := newTable("batch",
		integer("max_inflight_per_stream", func(b *BatchLimits) *int64 { return &b.MaxInflightPerStream }).doc("open batches of a stream").def("50 atomic, 1000 fast"),
		integer("max_inflight_total", func(b *BatchLimits) *int64 { return &b.MaxInflightTotal }).doc("open batches of the server").def("1000 atomic, 50000 fast"),
		integer("max_msgs", func(b *BatchLimits) *int64 { return &b.MaxMsgs }).doc("messages of a batch").def("1000"),
		durationLimit("timeout", func(b *BatchLimits) *time.Duration { return &b.Timeout }).doc("time a batch may wait for its next message").def("10s"),
	)
	t.outward = true
	return t
}()

var tpmTable = newTable("tpm",
	str("keys_file", func(t *TPM) *string { return &t.KeysFile }).doc("file of the sealed keys"),
	str("encryption_password", func(t *TPM) *string { return &t.EncryptionPassword }).secret().doc("password of the keys"),
	str("srk_password", func(t *TPM) *string { return &t.SRKPassword }).secret().doc("password of the storage root key"),
	integer("pcr", func(t *TPM) *int64 { return &t.PCR }).doc("platform configuration register"),
	custom("cipher", "string", func(_ *reader, e *conf.Entry, t *TPM) (err error) {
		t.Cipher, err = readCipher(e)
		return err
	}).def(`"chacha"`).doc("cipher"),
)

// CipherName is how logs and errors call a cipher.
func CipherName(cipher string) string {
	if cipher == "aes" {
		return "AES-GCM"
	}
	return "ChaCha20-Poly1305"
}

func readCipher(e *conf.Entry) (string, error) {
	s, err := asString(e.Value)
	if err != nil {
		return "", err
	}
	switch strings.ToLower(s) {
	case "chacha", "chachapoly":
		return "chacha", nil
	case "aes":
		return "aes", nil
	}
	return "", fmt.Errorf("Unknown cipher type: %q", s)
}

func readSyncInterval(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind == conf.String && strings.EqualFold(e.Value.Str, "always") {
		o.JetStream.SyncAlways = true
		return nil
	}
	d, err := r.duration(e)
	if err != nil {
		return err
	}
	o.JetStream.SyncInterval, o.JetStream.SyncAlways = d, false
	return nil
}

func readJetStream(r *reader, e *conf.Entry, o *Options) error {
	switch v := e.Value; v.Kind {
	case conf.Bool:
		o.JetStream.Enabled = v.Bool
	case conf.String:
		switch strings.ToLower(v.Str) {
		case "enabled", "enable":
			o.JetStream.Enabled = true
		case "disabled", "disable":
			o.JetStream.Enabled = false
		default:
			return fmt.Errorf("Expected 'enabled' or 'disabled' for string value, got '%s'", v.Str)
		}
	case conf.Map:
		o.JetStream.Enabled = true
		jetStreamTable.read(r, e, o)
	default:
		return fmt.Errorf("Expected map, bool or string to define JetStream, got %s", v.Kind)
	}
	return nil
}

package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/version"
)

// JetStream is the engine, or nil where it is off.
func (s *Server) JetStream() *jetstream.Engine { return s.js.Load() }

// startJetStream opens the store directory and the streams of all accounts, and
// serves the JetStream API in every account.
func (s *Server) startJetStream(o *options.Options) error {
	if !o.JetStream.Enabled {
		return nil
	}
	for _, a := range o.Accounts {
		if a.Name == o.SystemAccountName() && a.JetStream != nil {
			return errors.New("Not allowed to enable JetStream on the system account")
		}
	}
	js := s.jetStreamOptions(o)
	if info, err := s.disk.Stat(js.StoreDir); err == nil && !info.IsDir() {
		return errors.New("Can't start JetStream: storage directory is not a directory")
	}
	if err := vfs.MkdirAllSynced(s.disk, js.StoreDir, 0o750); err != nil {
		return fmt.Errorf("Can't start JetStream: could not create storage directory - %w", err)
	}
	if js.MaxMemory < 0 {
		js.MaxMemory = dynamicMemory()
	}
	if js.MaxStore < 0 {
		js.MaxStore = dynamicStore(js.StoreDir)
	}
	s.announceJetStream(&js)
	configs := s.jetStreamConfigs(o)
	if s.operator == nil {
		var r reservation
		for _, c := range configs {
			r.add(c)
		}
		if err := r.check(&js); err != nil {
			return fmt.Errorf("Can't start JetStream: Error enabling jetstream on configured accounts: %w", err)
		}
	}
	engine, err := jetstream.Open(js)
	if err != nil {
		return fmt.Errorf("Can't start JetStream: %w", err)
	}
	s.js.Store(engine)
	if s.system != nil {
		if err := engine.SetSystem(Bus(s.system)); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	for _, acc := range s.accounts.All() {
		if acc == s.system {
			continue
		}
		wg.Go(func() {
			if _, err := engine.AddAccount(acc.Name(), Bus(acc), configs[acc.Name()]); err != nil {
				select {
				case errs <- fmt.Errorf("enabling JetStream for account %q: %w", acc.Name(), err):
				default:
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// stopJetStream makes everything durable and releases the store directory.
func (s *Server) stopJetStream() {
	engine := s.js.Swap(nil)
	if engine == nil {
		return
	}
	s.log.Noticef("Initiating JetStream Shutdown...")
	if err := engine.Close(); err != nil {
		s.log.Errorf("Stopping JetStream: %v", err)
	}
	s.log.Noticef("JetStream Shutdown")
}

// reloadJetStream starts or stops JetStream, or tells it what changed about accounts. What fails is logged.
func (s *Server) reloadJetStream(o *options.Options, gone []*account.Account) {
	engine := s.js.Load()
	switch {
	case engine == nil && o.JetStream.Enabled:
		if s.mayReload() != nil {
			return // The server's end has stopped it.
		}
		s.log.Noticef("Restarting JetStream")
		err := s.startJetStream(o)
		if err != nil {
			s.log.Errorf("%v", err)
		}
		if err != nil || s.mayReload() != nil {
			s.stopJetStream()
		}
		return
	case engine != nil && !o.JetStream.Enabled:
		s.stopJetStream()
		return
	case engine == nil:
		return
	}
	// Limits that are not configured stay as they were found at the start.
	limits := engine.Options()
	if o.JetStream.MaxMemory >= 0 {
		limits.MaxMemory = o.JetStream.MaxMemory
	}
	if o.JetStream.MaxStore >= 0 {
		limits.MaxStore = o.JetStream.MaxStore
	}
	engine.SetLimits(limits.MaxMemory, limits.MaxStore)
	for _, a := range gone {
		engine.RemoveAccount(a.Name())
	}
	configs := s.jetStreamConfigs(o)
	for _, a := range s.accounts.All() {
		if a == s.system || slices.Contains(gone, a) {
			continue
		}
		if err := reloadAccount(engine, a, configs[a.Name()]); err != nil {
			s.log.Errorf("Error enabling jetstream on configured accounts: %v", err)
		}
	}
}

// reloadAccount gives an account its limits, enables it, or, without limits, disables it. On an error it stays as it was.
func reloadAccount(engine *jetstream.Engine, a *account.Account, want *jetstream.AccountConfig) error {
	if err := reservable(engine, a.Name(), want); err != nil {
		return err
	}
	now := engine.Account(a.Name())
	if now != nil && now.Enabled() == (want != nil) {
		if want != nil {
			now.SetConfig(*want)
		}
		return nil
	}
	if now != nil {
		engine.RemoveAccount(a.Name())
	}
	_, err := engine.AddAccount(a.Name(), Bus(a), want)
	return err
}

// reservation is what accounts together may use, in bytes.
type reservation struct{ memory, store int64 }

func (r *reservation) add(c *jetstream.AccountConfig) {
	r.memory += max(c.Limits.MaxMemory, 0)
	r.store += max(c.Limits.MaxStore, 0)
	for _, t := range c.Tiers {
		r.memory += max(t.MaxMemory, 0)
		r.store += max(t.MaxStore, 0)
	}
}

// check checks that the server has it.
func (r *reservation) check(server *jetstream.Options) error {
	switch {
	case server.MaxMemory >= 0 && r.memory > server.MaxMemory:
		return jsapi.ErrMemoryResourcesExceeded
	case server.MaxStore >= 0 && r.store > server.MaxStore:
		return jsapi.ErrStorageResourcesExceeded
	}
	return nil
}

// reservable checks that the server has what all accounts together may use, with want for the named one.
func reservable(engine *jetstream.Engine, name string, want *jetstream.AccountConfig) error {
	if want == nil {
		return nil
	}
	var r reservation
	r.add(want)
	for _, a := range engine.Accounts() {
		if c := a.Config(); c != nil && a.Name() != name {
			r.add(c)
		}
	}
	server := engine.Options()
	return r.check(&server)
}

// accountJetStream lets an account in operator mode store what its claims say;
// nil is nothing.
func (s *Server) accountJetStream(a *account.Account, l *options.AccountJetStream) {
	engine := s.js.Load()
	if engine == nil || a == s.system {
		return
	}
	if err := reloadAccount(engine, a, jetStreamConfig(l)); err != nil {
		s.log.Errorf("Error enabling jetstream on account %q: %v", a.Name(), err)
	}
}

func jetStreamConfig(l *options.AccountJetStream) *jetstream.AccountConfig {
	if l == nil {
		return nil
	}
	if l.Tiers == nil {
		return &jetstream.AccountConfig{Limits: accountLimits(l)}
	}
	c := &jetstream.AccountConfig{Tiers: make(map[string]jsapi.AccountLimits, len(l.Tiers))}
	for name, t := range l.Tiers {
		c.Tiers[name] = accountLimits(&t)
	}
	return c
}

// jetStreamConfigs are the accounts that may use JetStream, by name.
func (s *Server) jetStreamConfigs(o *options.Options) map[string]*jetstream.AccountConfig {
	if s.operator == nil {
		return jetStreamAccounts(o)
	}
	return s.operator.jetStreamConfigs()
}

// jetStreamAccounts are the accounts that may use JetStream. Where the
// configuration names no accounts, the global one may.
func jetStreamAccounts(o *options.Options) map[string]*jetstream.AccountConfig {
	configs := make(map[string]*jetstream.AccountConfig)
	only := true
	for _, a := range o.Accounts {
		if a.Name != o.SystemAccountName() && a.Name != options.GlobalAccount {
			only = false
		}
		if a.JetStream != nil {
			configs[a.Name] = &jetstream.AccountConfig{Limits: accountLimits(a.JetStream)}
		}
	}
	if only && configs[options.GlobalAccount] == nil {
		configs[options.GlobalAccount] = &jetstream.AccountConfig{Limits: jsapi.Unlimited}
	}
	return configs
}

func accountLimits(l *options.AccountJetStream) jsapi.AccountLimits {
	if l.Dynamic {
		return jsapi.Unlimited
	}
	return jsapi.AccountLimits{
		MaxMemory: l.MaxMemory, MaxStore: l.MaxStore, MaxStreams: int(l.MaxStreams), MaxConsumers: int(l.MaxConsumers),
		MaxAckPending: int(l.MaxAckPending), MemoryMaxStreamBytes: l.MemoryMaxStreamBytes,
		StoreMaxStreamBytes: l.StoreMaxStreamBytes, MaxBytesRequired: l.MaxBytesRequired,
	}
}

func (s *Server) jetStreamOptions(o *options.Options) jetstream.Options {
	j := &o.JetStream
	dir := j.StoreDir
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "nats")
		s.log.Warnf("Temporary storage directory used, data could be lost on system reboot")
	}
	js := jetstream.Options{
		FS: s.disk, StoreDir: dir, ServerName: s.Name(), ServerID: s.id, Version: version.Compatible, Domain: j.Domain,
		MaxPayload: int(o.MaxPayload), MaxPending: int(o.MaxPending),
		MaxMemory: j.MaxMemory, MaxStore: j.MaxStore, Lenient: !j.Strict,
		RequestQueueLimit: int(j.RequestQueueLimit), InfoQueueLimit: int(j.InfoQueueLimit),
		MaxBufferedMsgs: int(j.MaxBufferedMsgs), MaxBufferedSize: j.MaxBufferedSize,
		MaxDedupIDs: maxDedupIDs(),
		Limits: jetstream.Limits{
			MaxRequestBatch: int(j.Limits.MaxRequestBatch), MaxAckPending: int(j.Limits.MaxAckPending),
			MaxHAAssets: int(j.Limits.MaxHAAssets), DuplicateWindow: j.Limits.DuplicateWindow,
			BatchesPerStream: int(j.Limits.Batch.MaxInflightPerStream), BatchesTotal: int(j.Limits.Batch.MaxInflightTotal),
			BatchMaxMsgs: int(j.Limits.Batch.MaxMsgs), BatchTimeout: j.Limits.Batch.Timeout,
		},
		Encryption: jetstream.Encryption{Cipher: j.Cipher, Key: j.Key, PrevKey: j.PrevKey},
		DiskOps:    int(o.JetStream.MaxConcurrentIO),
		AckFormat2: s.FeatureFlags()["js_ack_fc_v2"],
		Events:     s.jetStreamEvent,
		Mutations:  s.mutations,
	}
	if !j.SyncAlways {
		js.SyncInterval = j.SyncInterval
		s.log.Warnf("With sync_interval %v acknowledged messages can be lost on power failure", j.SyncInterval)
	}
	return js
}

// jetStreamEvent logs what happened inside JetStream.
func (s *Server) jetStreamEvent(e jetstream.Event) {
	switch e := e.(type) {
	case jetstream.NoticeEvent:
		s.log.Noticef("%s", e.Text)
	case jetstream.WarningEvent:
		s.log.Warnf("%s", e.Text)
	case jetstream.ErrorEvent:
		s.log.Errorf("%s", e.Text)
	case jetstream.StreamFailedEvent:
		s.log.Errorf("JetStream stream '%s > %s': %v", e.Account, e.Stream, e.Err)
	case jetstream.StreamRecoveredEvent:
		s.log.Noticef("  Restored %d messages for stream '%s > %s' in %v", e.Msgs, e.Account, e.Stream, e.Took)
	case jetstream.OriginErrorEvent:
		if e.Err != nil {
			s.log.Warnf("JetStream stream '%s > %s' origin %s: %s, attempt %d, next in %v", e.Account, e.Stream, e.Origin, e.Err.Description, e.Attempt, e.Next)
		} else {
			s.log.Noticef("JetStream stream '%s > %s' origin %s is reached again", e.Account, e.Stream, e.Origin)
		}
	case jetstream.APILimitEvent:
		queue := "queue"
		if e.Info {
			queue = "info queue"
		}
		s.log.Warnf("JetStream API %s limit reached, dropping %d requests", queue, e.Dropped)
	case jetstream.StoreEvent:
		s.storeEvent(e.Event)
	}
}

// storeEvent logs what happened in the stores: each damage once, when it is found.
// That a store refuses writes is logged as an event of its stream.
func (s *Server) storeEvent(e msgstore.Event) {
	switch e := e.(type) {
	case msgstore.Damaged:
		if e.Torn {
			s.log.Warnf("JetStream %s", e)
		} else {
			s.log.Errorf("JetStream %s", e)
		}
	case commit.JournalDamaged, commit.JournalFailed:
		s.log.Errorf("JetStream %s", e)
	case msgstore.IndexIgnored, msgstore.BlocksMissing, msgstore.StateFailed, msgstore.ReadFailed:
		s.log.Warnf("JetStream %s", e)
	case msgstore.Converted, msgstore.Repaired, commit.JournalReplayed:
		s.log.Noticef("JetStream %s", e)
	default:
		s.log.Debugf("%s", e)
	}
}

package msgstore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

// apiConfig is what a store needs of a stream configuration in JSON.
type apiConfig struct {
	Name      string            `json:"name"`
	Subjects  []string          `json:"subjects"`
	MaxMsgs   int64             `json:"max_msgs"`
	MaxBytes  int64             `json:"max_bytes"`
	MaxAge    time.Duration     `json:"max_age"`
	MaxPer    int64             `json:"max_msgs_per_subject"`
	Discard   string            `json:"discard"`
	Retention string            `json:"retention"`
	Comp      string            `json:"compression"`
	FirstSeq  uint64            `json:"first_seq"`
	TTL       bool              `json:"allow_msg_ttl"`
	Schedules bool              `json:"allow_msg_schedules"`
	MarkerTTL time.Duration     `json:"subject_delete_marker_ttl"`
	Mirror    json.RawMessage   `json:"mirror"`
	Sources   []json.RawMessage `json:"sources"`
}

func fixtureConfig(t *testing.T, raw []byte) Config {
	t.Helper()
	var c apiConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Name: c.Name, Subjects: c.Subjects, Mirror: c.Mirror != nil || len(c.Sources) > 0,
		MaxMsgs: c.MaxMsgs, MaxBytes: c.MaxBytes, MaxAge: c.MaxAge, MaxMsgsPerSubject: c.MaxPer,
		FirstSeq: c.FirstSeq, WorkQueue: c.Retention != "limits",
		AllowMsgTTL: c.TTL, AllowMsgSchedules: c.Schedules, SubjectDeleteMarkerTTL: c.MarkerTTL,
	}
	if c.Discard == "new" {
		cfg.Discard = DiscardNew
	}
	if c.Comp == "s2" {
		cfg.Compression = S2Compression
	}
	return cfg
}

// fixtureKeys is the key ring of a case.
func fixtureKeys(t *testing.T, c *fixture.Case) KeyRing {
	if c.Encryption == nil {
		return KeyRing{}
	}
	cipher, err := ParseCipher(c.Encryption.Cipher)
	if err != nil {
		t.Fatal(err)
	}
	return KeyRing{Key: []byte(c.Encryption.Key), Cipher: cipher}
}

// outcome says what is special about a case: what a correct store cannot give
// back.
type outcome struct {
	anyLost bool   // some must be
	noMeta  string // this stream is not opened
	// back are removed messages that come back, since the reference server wrote
	// nothing about their removal: the files would be the same without it.
	back []uint64
	torn bool // the last record may be gone, without being lost
}

var fixtureOutcomes = map[string]outcome{
	"dmg-bitflip-last-block":     {anyLost: true},
	"dmg-bitflip-length-noindex": {anyLost: true},
	"dmg-bitflip-middle-block":   {anyLost: true},
	"dmg-bitflip-middle-noindex": {anyLost: true},
	"dmg-enc-bitflip":            {anyLost: true},
	"dmg-enc-key-bitflip":        {anyLost: true},
	"dmg-enc-key-missing":        {anyLost: true},
	"dmg-missing-last-block":     {anyLost: true},
	"dmg-missing-middle-block":   {anyLost: true},
	"dmg-missing-middle-noindex": {torn: true, anyLost: false},
	"dmg-s2-bitflip":             {anyLost: true},
	"dmg-truncated-tail":         {anyLost: true},
	"dmg-truncated-tail-noindex": {torn: true},
	"kill9-tomb-block":           {back: []uint64{20}},
	"dmg-meta-sum":               {noMeta: "METABAD"},
}

func TestFixtures(t *testing.T) {
	for _, name := range fixture.Names(t) {
		t.Run(name, func(t *testing.T) {
			dir, c := fixture.Unpack(t, name)
			ring := fixtureKeys(t, c)
			var events []string
			h, err := NewHost(dir, HostOptions{Manual: true, Events: func(e Event) { events = append(events, e.String()) }})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			out := fixtureOutcomes[name]
			for i := range c.Truth() {
				st := &c.Truth()[i]
				if out.noMeta == st.Name {
					_, err := ReadStreamMeta(h.fs, filepath.Join(dir, h.streamDir(st.Account, st.Name)), st.Account, ring)
					if err != ErrMetaDamaged {
						t.Fatalf("meta: %v", err)
					}
					continue
				}
				for round := range 3 {
					openFixture(t, h, ring, c, st, out, round)
				}
			}
			if t.Failed() {
				t.Logf("damage %s; required: %s; events %q", c.Damage, c.Required, events)
			}
		})
	}
}

func openFixture(t *testing.T, h *Host, ring KeyRing, c *fixture.Case, st *fixture.Stream, out outcome, round int) {
	t.Helper()
	cfg := fixtureConfig(t, st.Config)
	s, err := OpenFileStore(h, cfg, FileOptions{Account: st.Account, Keys: ring})
	if err != nil {
		t.Fatalf("open %s: %v", st.Name, err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}()
	want := st.Messages
	if c.Name == "kill9-never-age" {
		for due := s.Due(time.Now().UnixNano(), 1000, nil); len(due) > 0; due = s.Due(time.Now().UnixNano(), 1000, nil) {
			for _, d := range due {
				if _, err := s.RemoveMsg(d.Seq); err != nil {
					t.Fatal(err)
				}
			}
		}
		want = slices.DeleteFunc(slices.Clone(want), func(m fixture.Message) bool {
			v, _ := headerValue(m.Headers, hdrTTL)
			return string(v) != "never"
		})
	}
	var missing []uint64
	found := map[uint64]bool{}
	for _, m := range want {
		got, err := s.LoadMsg(m.Seq, nil)
		if err != nil {
			missing = append(missing, m.Seq)
			continue
		}
		found[m.Seq] = true
		sum := sha256.Sum256(got.Data)
		if got.Subject != m.Subject || got.Time != m.Time || string(got.Header) != string(m.Headers) || hex.EncodeToString(sum[:]) != m.SHA256 {
			t.Errorf("%s: message %d is %q at %d, want %q at %d", st.Name, m.Seq, got.Subject, got.Time, m.Subject, m.Time)
		}
	}
	state := s.State()
	for seq := uint64(1); seq <= state.LastSeq; seq++ {
		if _, err := s.LoadMsg(seq, nil); err == nil && !found[seq] && !slices.Contains(out.back, seq) {
			t.Errorf("%s: message %d was not there before", st.Name, seq)
		}
	}
	var lost []uint64
	if state.Lost != nil {
		lost = state.Lost.Msgs
	}
	if !out.torn && !slices.Equal(lost, missing) {
		t.Errorf("%s, round %d: lost %v, missing %v", st.Name, round, lost, missing)
	}
	if out.anyLost && len(lost) == 0 && len(missing) == 0 {
		t.Errorf("%s: no loss found", st.Name)
	}
	if out.torn && len(missing) > 1 && c.Name != "dmg-missing-middle-noindex" {
		t.Errorf("%s: missing %v", st.Name, missing)
	}
	if !out.anyLost && !out.torn && out.back == nil && c.Name != "kill9-never-age" {
		w := st.State
		// A torn tombstone is reported, and costs no message.
		if c.Name != "dmg-truncated-tombstone" && state.Lost != nil {
			t.Errorf("%s: lost %+v", st.Name, state.Lost)
		}
		if state.Msgs != w.Messages || state.Bytes != w.Bytes || state.FirstSeq != w.FirstSeq || state.LastSeq != w.LastSeq ||
			state.NumSubjects != w.NumSubjects && cfg.tracksSubjects() {
			t.Errorf("%s, round %d: state %+v, want %+v", st.Name, round, state, w)
		}
		if !apiTime(state.LastTime).Equal(w.LastTime) || !apiTime(state.FirstTime).Equal(w.FirstTime) {
			t.Errorf("%s, round %d: times %v %v, want %v %v", st.Name, round, apiTime(state.FirstTime), apiTime(state.LastTime), w.FirstTime, w.LastTime)
		}
		if w.LastSeq > 0 && !slices.Equal(state.Deleted, w.Deleted) {
			t.Errorf("%s: deleted %v, want %v", st.Name, state.Deleted, w.Deleted)
		}
	} else if state.LastSeq != st.State.LastSeq && !out.torn {
		t.Errorf("%s: last %d, want %d", st.Name, state.LastSeq, st.State.LastSeq)
	}
}

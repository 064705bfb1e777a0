package msgstore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// No server looks into what a client calls headers, nor minds a wildcard in the
// subject of a message: what was stored so is there after a start, however the store
// has ended, and nothing counts as damage.
func TestOddMessages(t *testing.T) {
	odd := []struct{ subject, header, data string }{
		{"a.usual", "NATS/1.0\r\nA: b\r\n\r\n", "x"},
		{"a.text", "ABCD", "x"},
		{"a.open", "NATS/1.0\r\nA: b\r\n", "x"},
		{"a.lower", "nats/1.0\r\nA: b\r\n\r\n", "\r\n\r\n"},
		{"a.unix", "NATS/1.0\n\n", "x"},
		{"a.*", "", "x"},
		{"a.>", "", "x"},
		{"a.>.b", "", "x"},
		{"a.\f\x01\xff", "", "x"},
	}
	cfg := Config{Name: "S", Subjects: []string{">"}}
	for name, end := range map[string]func(*FileStore, *crashfs.FS) *crashfs.FS{
		"stopped": func(s *FileStore, disk *crashfs.FS) *crashfs.FS {
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := s.disk.host.Close(); err != nil {
				t.Fatal(err)
			}
			return disk
		},
		"killed": func(_ *FileStore, disk *crashfs.FS) *crashfs.FS { return disk.Kill() },
		"cut":    func(_ *FileStore, disk *crashfs.FS) *crashfs.FS { return disk.Crash() },
	} {
		t.Run(name, func(t *testing.T) {
			disk := crashfs.New(1)
			s := openOn(t, disk, cfg, FileOptions{BlockSize: 100})
			for _, m := range odd {
				if err := s.StoreRawMsg(m.subject, []byte(m.header), []byte(m.data), 0, 1, 0, false); err != nil {
					t.Fatalf("%q: %v", m.subject, err)
				}
			}
			s = openOn(t, end(s, disk), cfg, FileOptions{BlockSize: 100})
			if st := s.State(); st.Lost != nil || st.Msgs != uint64(len(odd)) {
				t.Errorf("%d of %d messages, lost %v", st.Msgs, len(odd), st.Lost)
			}
			for i, m := range odd {
				sm, err := s.LoadMsg(uint64(i+1), nil)
				if err != nil {
					t.Errorf("%q: %v", m.subject, err)
					continue
				}
				if sm.Subject != m.subject || string(sm.Header) != m.header || string(sm.Data) != m.data {
					t.Errorf("%q, header %q, %q; stored were %q", sm.Subject, sm.Header, sm.Data, m)
				}
			}
		})
	}
}

// What a reader would take for damage is refused, and changes nothing.
func TestRefusesWhatLooksDamaged(t *testing.T) {
	both(t, Config{}, func(t *testing.T, s Store) {
		for _, tc := range []struct {
			subject, header, data string
			want                  error
		}{
			{"a", "NATS/1.0\r\nA: b\r\n", "\r\n\r\n", ErrBadHeader},
			{"a", "x", "NATS/1.0\r\n\r\n", ErrBadHeader},
			{"", "", "x", ErrBadSubject},
			{"a..b", "", "x", ErrBadSubject},
			{".a", "", "x", ErrBadSubject},
			{"a.", "", "x", ErrBadSubject},
			{"a b", "", "x", ErrBadSubject},
			{"a\r\nb", "", "x", ErrBadSubject},
		} {
			if err := s.StoreRawMsg(tc.subject, []byte(tc.header), []byte(tc.data), 0, 1, 0, false); !errors.Is(err, tc.want) {
				t.Errorf("%q, header %q: %v", tc.subject, tc.header, err)
			}
		}
		if err := s.StoreRawMsg("a", nil, bytes.Repeat([]byte("NATS/1.0\r\n\r\n"), 2), 0, 1, 0, false); err != nil {
			t.Error(err)
		}
		if st := s.State(); st.Msgs != 1 || st.LastSeq != 1 {
			t.Errorf("%+v", st)
		}
	})
}

package msgstore

import (
	"fmt"
	"testing"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// How far a source has come is known after a power cut, and after a killed
// process, also when the messages that told it are gone.
func TestSourceProgressSurvives(t *testing.T) {
	const origin, other = "O > >", "P > >"
	for name, c := range map[string]struct {
		maxMsgs int64
		remove  func(*FileStore) error
	}{
		"purge":             {0, func(s *FileStore) error { _, err := s.Purge(); return err }},
		"purge up to":       {0, func(s *FileStore) error { _, err := s.PurgeEx("", 60, 0); return err }},
		"purge of subject":  {0, func(s *FileStore) error { _, err := s.PurgeEx("o", 0, 0); return err }},
		"purge and message": {0, func(s *FileStore) error { _, err := s.Purge(); put(t, s, "a", 61, ""); return err }},
		"erase": {0, func(s *FileStore) error {
			for seq := range uint64(40) {
				if _, err := s.EraseMsg(seq + 21); err != nil {
					return err
				}
			}
			return nil
		}},
		"remove": {0, func(s *FileStore) error {
			for seq := range uint64(60) {
				if _, err := s.RemoveMsg(seq + 1); err != nil {
					return err
				}
			}
			return nil
		}},
		"limit": {2, func(s *FileStore) error { put(t, s, "a", 61, ""); put(t, s, "a", 62, ""); return nil }},
	} {
		for _, durability := range []Durability{Always, Interval} {
			for _, killed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v/%v", name, durability, killed), func(t *testing.T) {
					disk := crashfs.New(5)
					cfg := Config{Name: "S", Storage: FileStorage, Subjects: []string{">"}, Sources: []string{origin, other}, MaxMsgs: c.maxMsgs}
					opts := FileOptions{Account: "A", Durability: durability, BlockSize: 1000}
					s := openOn(t, disk, cfg, opts)
					want := map[string]SourceProgress{}
					for i := range 60 {
						source := []string{origin, other}[i%2]
						want[source] = SourceProgress{Seq: uint64(100 + i), Identity: "identity"}
						put(t, s, "o", int64(i+1), fmt.Sprintf("NATS/1.0\r\nNats-Stream-Source: %s %d > > o identity\r\n\r\n", source[:1], 100+i))
					}
					if err := c.remove(s); err != nil {
						t.Fatal(err)
					}
					s.disk.host.Maintain(1)
					if _, err := s.FlushAllPending(); err != nil {
						t.Fatal(err)
					}
					if killed {
						disk = disk.Kill()
					} else {
						disk = disk.Crash()
					}
					s = openOn(t, disk, cfg, opts)
					for name, p := range s.SourceProgress() {
						if p != want[name] {
							t.Errorf("%s is at %+v, was at %+v", name, p, want[name])
						}
						delete(want, name)
					}
					for name := range want {
						t.Errorf("%s is not known", name)
					}
				})
			}
		}
	}
}

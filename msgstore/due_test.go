package msgstore

import (
	"testing"
	"time"
)

// Several messages of a subject that expire in one pass leave one marker: that
// of the last.
func TestMarkerOfLastMessage(t *testing.T) {
	m, err := NewMemStore(Config{
		Name: "S", Storage: MemoryStorage, Subjects: []string{"s.*"}, MaxAge: time.Second, SubjectDeleteMarkerTTL: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	for i, subject := range []string{"s.a", "s.b", "s.a", "s.c"} {
		header := []byte(nil)
		if subject == "s.b" {
			header = []byte("NATS/1.0\r\nKV-Operation: PURGE\r\n\r\n")
		}
		at := int64(i + 1)
		if subject == "s.c" {
			at = int64(time.Minute)
		}
		if err := m.StoreRawMsg(subject, header, nil, uint64(i+1), at, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	due := m.Due(int64(2*time.Second), 10, nil)
	want := []struct {
		seq    uint64
		marker bool
	}{{1, false}, {2, false}, {3, true}}
	if len(due) != len(want) {
		t.Fatalf("%d due: %+v", len(due), due)
	}
	for i, w := range want {
		if due[i].Seq != w.seq || due[i].Marker != w.marker || (due[i].Publish != nil) != w.marker {
			t.Errorf("due[%d] = %+v, want %+v", i, due[i], w)
		}
	}
}

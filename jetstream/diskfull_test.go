package jetstream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/natsd/natsd/msgstore/vfs/crashfs"
)

// Streams fill the disk that they share: they refuse, one of them can be deleted, or
// purged in the space of a spare segment of the commit journal, and then all go on with
// everything that was acknowledged.
func TestFullDisk(t *testing.T) {
	const full = `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"},`
	for _, c := range []struct {
		name, subject string
		segments      int // of the commit journal, when the disk fills up
	}{
		{"delete another", "$JS.API.STREAM.DELETE.T", 1},
		{"delete another, with a spare segment", "$JS.API.STREAM.DELETE.T", 2},
		{"purge another", "$JS.API.STREAM.PURGE.T", 2},
		{"purge itself", "$JS.API.STREAM.PURGE.S", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := crashfs.New(1)
			_, _, client := newTestEngine(t, Options{FS: disk, StoreDir: "/store", Events: func(Event) {}})
			for _, name := range []string{"S", "T", "U"} {
				r := client.request("$JS.API.STREAM.CREATE."+name, fmt.Sprintf(`{"name":%q,"subjects":[%q]}`, name, strings.ToLower(name)))
				if strings.Contains(r.data, `"error"`) {
					t.Fatal(r.data)
				}
			}
			acked := map[string]int{}
			publish := func(subject, data string) bool {
				t.Helper()
				r := client.request(subject, data)
				switch {
				case strings.HasPrefix(r.data, full):
					return false
				case strings.Contains(r.data, `"error"`):
					t.Fatal(r.data)
				}
				acked[subject]++
				return true
			}
			small := strings.Repeat("s", 28<<10)
			for range 600 { // enough for a journal
				publish("s", "x")
			}
			for end := time.Now().Add(20 * time.Second); ; {
				info, err := disk.Stat(fmt.Sprintf("/store/natsd/journal-%d", c.segments))
				if err == nil && info.Size() == 32<<20 {
					break
				}
				if c.segments > 1 {
					publish("u", small)
				}
				if time.Now().After(end) {
					t.Fatalf("no segment %d: %v", c.segments, err)
				}
			}
			disk.SetCapacity(disk.Used() + 3<<20)
			big := strings.Repeat("x", 60<<10)
			for refused := 0; refused < 6; {
				for _, subject := range []string{"t", "s", "t"} {
					if !publish(subject, big) {
						refused++
					}
				}
			}
			if r := client.request(c.subject, ""); !strings.Contains(r.data, `"success":true`) {
				t.Fatalf("%s: %s", c.subject, r.data)
			}
			if c.subject == "$JS.API.STREAM.PURGE.S" {
				acked["s"] = 0
			}
			for end := time.Now().Add(20 * time.Second); !publish("s", "again"); {
				if time.Now().After(end) {
					t.Fatal("it refuses with room again")
				}
				<-time.After(20 * time.Millisecond)
			}
			publish("u", "x")
			for _, subject := range []string{"s", "u"} {
				r := client.request("$JS.API.STREAM.INFO."+strings.ToUpper(subject), "")
				if want := fmt.Sprintf(`"messages":%d,`, acked[subject]); !strings.Contains(r.data, want) {
					t.Errorf("%s, want %s", r.data, want)
				}
			}
		})
	}
}

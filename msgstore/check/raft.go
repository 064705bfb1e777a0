package check

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/natsd/natsd/msgstore/internal/highway"
)

// Raft groups of a clustered nats-server lie beside the streams of its system
// account, as block stores whose messages are log entries. They are verified and
// inspected; there is nothing to recover from them without their cluster.
const raftDir = "_js_"

// raftFiles checks the files of a group besides its blocks.
func (s *stream) raftFiles() {
	dir := filepath.Join(s.dir, "snapshots")
	list, err := s.fs.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		var term, index uint64
		if n, err := fmt.Sscanf(e.Name(), "snap.%d.%d", &term, &index); n != 2 || err != nil || e.Name() != fmt.Sprintf("snap.%d.%d", term, index) {
			s.find(Info, KindLeftover, path, "no snapshot by its name; a server removes it")
			continue
		}
		b, err := s.read(path, maxState)
		if err != nil {
			s.find(Damage, KindSnapshot, path, err.Error())
			continue
		}
		n := len(b) - highway.Size
		const minSnapshot = 8 + 8 + 4
		if n < minSnapshot || highway.Sum64(s.stream, b[:n]) != binary.LittleEndian.Uint64(b[n:]) {
			s.find(Damage, KindSnapshot, path, "checksum did not match")
		}
	}
}

// isGroup says whether a directory is that of a Raft group.
func isGroup(dir string) bool { return strings.HasSuffix(filepath.Dir(dir), raftDir) }

package msgstore

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/vfs"
)

// dump writes down what the files of a stream hold, if they are plain.
func dump(fsys vfs.FS, msgs, stream string) string {
	var w strings.Builder
	entries, _ := fsys.ReadDir(msgs)
	for _, e := range entries {
		fmt.Fprintf(&w, "%s: ", e.Name())
		raw, err := vfs.ReadFile(fsys, path.Join(msgs, e.Name()), 1<<30)
		var n uint32
		switch {
		case err != nil:
			fmt.Fprint(&w, err)
		case strings.HasSuffix(e.Name(), ".blk"):
			fmt.Sscanf(e.Name(), "%d.blk", &n)
			content, compressed, _ := plain(raw)
			fmt.Fprintf(&w, "%d bytes, compressed %v:", len(content), compressed)
			key := record.NewKey(stream, n)
			for off := 0; off < len(content); {
				r, err := record.Decode(content[off:], &key)
				if err != nil {
					fmt.Fprintf(&w, " %v at %d", err, off)
					break
				}
				fmt.Fprintf(&w, " %s%d", r.Kind.String()[:1], r.Seq)
				off += r.Size
			}
		case e.Name() == indexFile:
			plain, err := indexdb.Unseal(raw, stream, nil)
			if err != nil {
				fmt.Fprint(&w, err)
				break
			}
			x, err := indexdb.Decode(plain)
			if err != nil {
				fmt.Fprint(&w, err)
				break
			}
			fmt.Fprintf(&w, "last %d in %d, sum %x", x.LastSeq, x.LastBlock, x.LastChecksum)
			for _, b := range x.Blocks {
				fmt.Fprintf(&w, "; %d: %d to %d without", b.Number, b.FirstSeq, b.LastSeq)
				if b.Deleted != nil {
					fmt.Fprint(&w, slices.Collect(b.Deleted.All()))
				}
			}
		default:
			fmt.Fprintf(&w, "%d bytes", len(raw))
		}
		fmt.Fprintln(&w)
	}
	return w.String()
}

package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/blockcomp"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
	"github.com/natsd/natsd/msgstore/vfs"
)

// ErrDamaged says that a directory must be recovered before it can be converted.
var ErrDamaged = errors.New("is damaged: 'storetool recover' it first")

// Converted is the result of a conversion.
type Converted struct {
	Streams   int `json:"streams"`
	Blocks    int `json:"blocks"`    // files rewritten
	Unchanged int `json:"unchanged"` // files that were as wanted already
}

// A conversion changes a directory file by file. Each file is replaced as a
// whole, by a rename, and whichever key fits is found by trying, so that at any
// moment every file is readable with what lies beside it: stopping a conversion
// at any point leaves the original or the result of each file, and running it
// again does the rest. Files that are as wanted already are left alone.
//
// The order for an encrypted block N, where K is its key file:
//
//	N.key.new   the key file of the new content, synced
//	N.blk.tmp   the new content, synced
//	N.key.old   the key file so far, a second name
//	N.key       replaced by N.key.new        from here on N.key.old fits
//	N.blk       replaced by N.blk.tmp        from here on N.key fits
//	            directory synced, N.key.old removed
//
// index.db is sealed with the stream's key and written anew as well.

// ConvertCipher makes all of a directory encrypted with the key and cipher of
// to, or plain if to has no key. opts.Keys are the keys so far; after an
// interruption files of both kinds lie side by side, so both are tried. Every
// record is verified before it is written. A damaged stream is not touched.
func ConvertCipher(path string, to Keys, opts Options) (*Converted, error) {
	ring := opts.Keys
	switch {
	case !ring.Enabled():
		opts.Keys = to
	case to.Enabled():
		opts.Keys = Keys{Key: to.Key, PrevKey: ring.Key, Cipher: to.Cipher}
	}
	if to.Enabled() && to.Cipher == NoCipher {
		to.Cipher = ChaCha
	}
	c := conversion{opts: &opts, target: to, recode: true}
	return c.run(path)
}

// ConvertCompression makes all blocks of a directory, except the last of each
// stream, compressed or not, and sets the stream's configuration accordingly.
// Every record is verified before it is written. A damaged stream is not touched.
func ConvertCompression(path string, s2 bool, opts Options) (*Converted, error) {
	c := conversion{opts: &opts, compress: &s2}
	return c.run(path)
}

type conversion struct {
	opts     *Options
	target   Keys  // with recode: what is written is encrypted with
	recode   bool  // the cipher changes
	compress *bool // nil: blocks keep their form
	result   Converted
}

func (c *conversion) run(path string) (*Converted, error) {
	if err := mustBeReplayed(path, c.opts); err != nil {
		return nil, err
	}
	// Everything is verified first: a stream that turns out to be damaged when
	// others were converted already would leave a mixture.
	var streams []*stream
	err := examine(path, twoPasses, c.opts, func(s *stream) error {
		if s.onlyBlock != 0 {
			return fmt.Errorf("%s: a block cannot be converted without its stream", path)
		}
		if s.plan != nil {
			return fmt.Errorf("%s > %s: a truncation was interrupted, which a server completes when it starts", s.account, s.stream)
		}
		sealed, err := s.sealedBatch()
		if err != nil {
			return err
		}
		if c.recode && sealed {
			return fmt.Errorf("%s > %s: an atomic batch was in flight, whose files have keys of their own: start a server once, which completes it", s.account, s.stream)
		}
		s.consumers()
		for _, f := range s.findings {
			if f.Severity == Damage {
				return fmt.Errorf("%s > %s %w (%s)", s.account, s.stream, ErrDamaged, f)
			}
		}
		streams = append(streams, s)
		return nil
	})
	for _, s := range streams {
		if err != nil {
			return nil, err
		}
		err = c.stream(s)
	}
	if err != nil {
		return nil, err
	}
	return &c.result, nil
}

// sealedBatch says whether a batch was in flight whose files are encrypted.
func (s *stream) sealedBatch() (bool, error) {
	batches := filepath.Join(s.dir, "batches")
	list, err := s.fs.ReadDir(batches)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	sealed := func(e fs.DirEntry) bool { return s.exists(filepath.Join(batches, e.Name(), "meta.key")) }
	return slices.ContainsFunc(list, sealed), err
}

// ring is the key ring for what is written in s.
func (c *conversion) ring(s *stream) Keys {
	if c.recode {
		return c.target
	}
	if !s.keys.sealed {
		return Keys{}
	}
	r := s.opts.Keys
	r.Cipher = s.keys.opened.Cipher
	return r
}

// current says whether something opened so is as wanted.
func (c *conversion) current(encrypted bool, opened keys.Opened) bool {
	if !c.recode {
		return true
	}
	if !c.target.Enabled() {
		return !encrypted
	}
	return encrypted && opened.Current(c.target)
}

// stream converts a stream: blocks, consumers, and the stream's own small files
// last, whose key says whether the conversion is complete.
func (c *conversion) stream(s *stream) error {
	c.result.Streams++
	if s.msgs != filepath.Join(s.dir, "msgs") {
		return fmt.Errorf("%s: a purge was interrupted: start a server once, which completes it", s.dir)
	}
	if err := c.blocks(s); err != nil {
		return err
	}
	for _, con := range s.list {
		if c.current(con.keys.sealed, con.keys.opened) && !con.keys.pending && !con.torn {
			continue
		}
		object := keys.OfConsumer(s.owner(), s.stream, con.name)
		err := c.small(s, con.dir, object, meta.ConsumerName(s.stream, con.name), con.inf, func(key *keys.Key) error {
			if con.stored == nil {
				return nil
			}
			return sealFile(s.opts.fs(), filepath.Join(con.dir, "o.dat"), con.stored, key)
		})
		if err != nil {
			return err
		}
	}
	inf := s.metaRaw
	done := c.current(s.keys.sealed, s.keys.opened) && !s.keys.pending
	if c.compress != nil && s.cfg.Compression != compression(*c.compress) {
		done = false
		var err error
		if inf, err = setCompression(inf, compression(*c.compress)); err != nil {
			return err
		}
	}
	if done {
		return nil
	}
	return c.small(s, s.dir, keys.OfStream(s.owner(), s.stream), meta.StreamName(s.stream), inf, func(key *keys.Key) error { return c.index(s, key) })
}

func compression(s2 bool) string {
	if s2 {
		return "s2"
	}
	return "none"
}

func (c *conversion) blocks(s *stream) error {
	for i, b := range s.blocks {
		in, err := s.load(b)
		if err != nil {
			return err
		}
		if b.unreadable != nil || len(in.bad) > 0 {
			return fmt.Errorf("%s changed while it was being converted", b.path)
		}
		want := b.compressed
		if c.compress != nil {
			want = *c.compress && i < len(s.blocks)-1 && len(in.bytes) > record.MinSize
		}
		if c.current(b.encrypted, b.opened) && !b.oldKey && want == b.compressed {
			c.result.Unchanged++
			if err := c.tidy(s, b); err != nil {
				return err
			}
			continue
		}
		res, err := scan.Run(s.scanBlock(b, &in), func(int, *record.Record) error { return nil })
		if err != nil {
			return err
		}
		if res.Damaged() {
			return fmt.Errorf("%s %w", b.path, ErrDamaged)
		}
		out := in.bytes
		if want {
			out = blockcomp.Encode(nil, in.bytes)
		}
		if err := c.replaceBlock(s, b, out); err != nil {
			return err
		}
		c.result.Blocks++
	}
	return s.opts.fs().SyncDir(s.msgs)
}

// tidy removes what a conversion that was interrupted behind the last rename of
// a block left beside it.
func (c *conversion) tidy(s *stream, b *block) error {
	base := filepath.Join(s.msgs, strconv.FormatUint(b.number, 10))
	names := []string{base + ".key.old", base + ".key.new", base + ".blk.tmp"}
	if !b.encrypted {
		names = append(names, base+".key")
	}
	for _, name := range names {
		if err := removeIfThere(s.opts.fs(), name); err != nil {
			return err
		}
	}
	return nil
}

// replaceBlock puts content in the place of a block, in the order that is
// described above.
func (c *conversion) replaceBlock(s *stream, b *block, content []byte) error {
	fsys := s.opts.fs()
	base := filepath.Join(s.msgs, strconv.FormatUint(b.number, 10))
	ring := c.ring(s)
	if err := c.writeBeside(s, b, base, content); err != nil {
		// A disk that is full must not stay so for what nobody needs.
		return errors.Join(err, removeIfThere(fsys, base+".blk.tmp"), removeIfThere(fsys, base+".key.new"))
	}
	hadKey := s.exists(base + ".key")
	if hadKey && !b.oldKey { // with oldKey the old name is there already, and is the one that fits
		if err := removeIfThere(fsys, base+".key.old"); err != nil {
			return err
		}
		if err := fsys.Link(base+".key", base+".key.old"); err != nil {
			return err
		}
		if err := fsys.SyncDir(s.msgs); err != nil {
			return err
		}
	}
	if ring.Enabled() {
		if err := fsys.Rename(base+".key.new", base+".key"); err != nil {
			return err
		}
		if err := fsys.SyncDir(s.msgs); err != nil {
			return err
		}
	}
	if err := fsys.Rename(base+".blk.tmp", base+".blk"); err != nil {
		return err
	}
	if err := fsys.SyncDir(s.msgs); err != nil {
		return err
	}
	if !ring.Enabled() {
		if err := removeIfThere(fsys, base+".key"); err != nil {
			return err
		}
	}
	if err := removeIfThere(fsys, base+".key.old"); err != nil {
		return err
	}
	return fsys.SyncDir(s.msgs)
}

// writeBeside writes the new content of a block, and its key file, under temporary
// names.
func (c *conversion) writeBeside(s *stream, b *block, base string, content []byte) error {
	fsys := s.opts.fs()
	if ring := c.ring(s); ring.Enabled() {
		k, file, err := ring.New(keys.OfBlock(s.owner(), s.stream, b.number))
		if err != nil {
			return err
		}
		sealed := make([]byte, len(content))
		k.Stream().XORAt(sealed, content, 0)
		content = sealed
		if err := vfs.WriteSynced(fsys, base+".key.new", file, 0o600); err != nil {
			return err
		}
	}
	return vfs.WriteSynced(fsys, base+".blk.tmp", content, 0o600)
}

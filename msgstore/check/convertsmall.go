package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/natsd/natsd/msgstore/internal/indexdb"
	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/vfs"
)

// small writes the small files of a stream or consumer anew: key, configuration,
// and by rest what else is sealed with the key. meta.key.old stays until all of
// them are done, so that each can be read at any moment.
func (c *conversion) small(s *stream, dir string, object keys.Object, name string, inf []byte, rest func(*keys.Key) error) error {
	fsys := s.opts.fs()
	path := func(file string) string { return filepath.Join(dir, file) }
	ring := c.ring(s)
	if s.exists(path("meta.key")) && !s.exists(path("meta.key.old")) {
		if err := fsys.Link(path("meta.key"), path("meta.key.old")); err != nil {
			return err
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	var key *keys.Key
	if ring.Enabled() {
		k, file, err := ring.New(object)
		if err != nil {
			return err
		}
		if err := vfs.ReplaceFile(fsys, path("meta.key"), file, 0o600); err != nil {
			return err
		}
		if inf, err = k.Seal(inf); err != nil {
			return err
		}
		key = k
	}
	if rest != nil {
		if err := rest(key); err != nil {
			return err
		}
	}
	if err := writePair(fsys, dir, name, inf); err != nil {
		return err
	}
	if !ring.Enabled() {
		if err := removeIfThere(fsys, path("meta.key")); err != nil {
			return err
		}
	}
	if err := removeIfThere(fsys, path("meta.key.old")); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// writePair replaces meta.inf and meta.sum. After a crash in between, the one
// that is missing lies beside under its temporary name.
func writePair(fsys vfs.FS, dir, name string, inf []byte) error {
	if err := vfs.WriteSynced(fsys, filepath.Join(dir, "meta.inf.tmp"), inf, 0o600); err != nil {
		return err
	}
	if err := vfs.WriteSynced(fsys, filepath.Join(dir, "meta.sum.tmp"), meta.Sum(name, inf), 0o600); err != nil {
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	for _, file := range []string{"meta.inf", "meta.sum"} {
		if err := fsys.Rename(filepath.Join(dir, file+".tmp"), filepath.Join(dir, file)); err != nil {
			return err
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// sealFile replaces a file by content, sealed if there is a key.
func sealFile(fsys vfs.FS, path string, content []byte, key *keys.Key) error {
	if key != nil {
		var err error
		if content, err = key.Seal(content); err != nil {
			return err
		}
	}
	return vfs.ReplaceFile(fsys, path, content, 0o600)
}

// index seals index.db with the new key. Its content stays: the last bytes of
// the last block, by which its age is judged, are not changed by a conversion.
func (c *conversion) index(s *stream, key *keys.Key) error {
	path := filepath.Join(s.msgs, "index.db")
	if s.index == nil || s.manifest {
		return removeIfThere(s.opts.fs(), path) // nobody could read it any more
	}
	file, err := indexdb.Seal(s.index.Append(nil, s.index.Subjects()), s.stream, key)
	if err != nil {
		return err
	}
	return vfs.ReplaceFile(s.opts.fs(), path, file, 0o600)
}

func removeIfThere(fsys vfs.FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// setCompression changes the member compression of a configuration and leaves
// every other byte as it is.
func setCompression(inf []byte, value string) ([]byte, error) {
	return editMember(inf, "compression", []byte(`"`+value+`"`))
}

// editMember sets a member of a JSON object, adding it at the front if it is
// not there, or removes it if value is nil. Every other byte stays as it is.
func editMember(object []byte, member string, value []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("no JSON object: %v", err)
	}
	open := int(d.InputOffset())
	for start := open; d.More(); start = int(d.InputOffset()) {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if name != member {
			continue
		}
		end := int(d.InputOffset())
		if value != nil {
			return bytes.Join([][]byte{object[:end-len(v)], value, object[end:]}, nil), nil
		}
		if start == open { // the first member: the comma behind it goes with it
			rest := bytes.TrimLeft(object[end:], " \t\r\n")
			end = len(object) - len(bytes.TrimPrefix(rest, []byte(",")))
		}
		return bytes.Join([][]byte{object[:start], object[end:]}, nil), nil
	}
	if value == nil {
		return object, nil
	}
	comma := []byte(",")
	if bytes.HasPrefix(bytes.TrimLeft(object[open:], " \t\r\n"), []byte("}")) {
		comma = nil
	}
	return bytes.Join([][]byte{object[:open], []byte(`"` + member + `":`), value, comma, object[open:]}, nil), nil
}

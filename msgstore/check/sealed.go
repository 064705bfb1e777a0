package check

import (
	"path/filepath"
	"strconv"

	"github.com/natsd/natsd/msgstore/internal/keys"
)

// sealer opens the small files of a stream or consumer. While a conversion is
// under way a file may be sealed with the key, with the one before, or plain.
type sealer struct {
	key, older *keys.Key
	opened     keys.Opened
	sealed     bool // there is a key file
	pending    bool // a conversion was interrupted, as far as is known
	err        error
}

// openKeys reads meta.key and meta.key.old of a directory.
func (s *stream) openKeys(dir string, object keys.Object) (u sealer, err error) {
	file, err := s.read(filepath.Join(dir, "meta.key"), maxMeta)
	if err != nil {
		return u, err
	}
	older, err := s.read(filepath.Join(dir, "meta.key.old"), maxMeta)
	if err != nil {
		return u, err
	}
	u.sealed, u.pending = file != nil || older != nil, older != nil
	if file != nil {
		u.key, u.opened, u.err = s.opts.Keys.Open(object, file)
	}
	if older != nil {
		u.older, _, _ = s.opts.Keys.Open(object, older)
	}
	return u, nil
}

// open returns the plain content of a small file. valid tells plain content of
// that file from anything else.
func (u *sealer) open(b []byte, valid func([]byte) bool) ([]byte, error) {
	if !u.sealed {
		return b, nil
	}
	err := u.err
	for _, k := range []*keys.Key{u.key, u.older} {
		if k == nil {
			continue
		}
		plain, kerr := k.Unseal(b)
		if kerr == nil {
			u.pending = u.pending || k == u.older
			return plain, nil
		}
		if err == nil {
			err = kerr
		}
	}
	if valid(b) {
		u.pending = true
		return b, nil
	}
	if err == nil {
		err = keys.ErrNotRecovered
	}
	return nil, err
}

// anyKeyOpens says whether any key file of the stream opens with the given keys:
// if none does, they are the wrong keys, and nothing is known to be damaged.
func (s *stream) anyKeyOpens() bool {
	if s.keys.key != nil || s.keys.older != nil {
		return true
	}
	for _, b := range s.blocks {
		file, err := s.read(filepath.Join(s.msgs, strconv.FormatUint(b.number, 10)+".key"), maxMeta)
		if err != nil || file == nil {
			continue
		}
		if _, _, err := s.opts.Keys.Open(keys.OfBlock(s.owner(), s.stream, b.number), file); err == nil {
			return true
		}
	}
	return false
}

package msgstore

import (
	"fmt"

	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/vfs"
)

// rewrapKeys makes the configured key open every block that only the previous
// one opens, so that the previous key can go once a store was opened with both.
// The blocks keep their own keys until they are converted, one by one, later.
func (d *disk) rewrapKeys() error {
	if len(d.ring.PrevKey) == 0 {
		return nil
	}
	for _, b := range d.s.blocks {
		if !b.file.convert || b.file.key == nil {
			continue
		}
		file, err := vfs.ReadFile(d.fs, d.keyPath(b.num), maxKeyFile)
		if err != nil {
			return fmt.Errorf("key of block %d: %w", b.num, err)
		}
		object := keys.OfBlock(d.account, d.name, uint64(b.num))
		key, opened, err := d.ring.Open(object, file)
		if err != nil || !opened.Prev {
			continue
		}
		if file, err = d.ring.Wrap(key, object); err != nil {
			return err
		}
		if err := vfs.ReplaceFile(d.fs, d.keyPath(b.num), file, 0o600); err != nil {
			return fmt.Errorf("key of block %d: %w", b.num, err)
		}
	}
	return nil
}

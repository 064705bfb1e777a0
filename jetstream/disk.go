package jetstream

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/commit"
	"github.com/natsd/natsd/msgstore/vfs"
)

// disk is the store directory: its lock, its committer, and the stores in it.
type disk struct {
	opts      *Options
	dir       string // <StoreDir>/jetstream
	fs        vfs.FS
	keys      msgstore.KeyRing
	committer *commit.Committer
}

func openDisk(o *Options, event func(Event)) (*disk, error) {
	return &disk{opts: o, dir: filepath.Join(o.StoreDir, "jetstream")}, nil
}

func (d *disk) close() error { return nil }

// streamDir is where a stream's files are.
func (d *disk) streamDir(account, stream string) string {
	return filepath.Join(d.dir, account, "streams", stream)
}

// openStore opens or creates the store of a stream.
func (d *disk) openStore(a *Account, cfg *jsapi.StreamConfig, created time.Time) (msgstore.Store, error) {
	if cfg.Storage == jsapi.MemoryStorage {
		return msgstore.NewMemStore(storeConfig(cfg, created))
	}
	return nil, errors.New("no store")
}

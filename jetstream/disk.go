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
	committer *commit.Committer // nil without a store directory: then all is in memory
}

func openDisk(o *Options, event func(Event)) (*disk, error) {
	d := &disk{opts: o, dir: filepath.Join(o.StoreDir, "jetstream"), fs: o.FS}
	if d.fs == nil {
		d.fs = vfs.OS
	}
	if o.Encryption.Key != "" {
		cipher, err := msgstore.ParseCipher(o.Encryption.Cipher)
		if err != nil {
			return nil, err
		}
		d.keys = msgstore.KeyRing{Key: []byte(o.Encryption.Key), PrevKey: []byte(o.Encryption.PrevKey), Cipher: cipher}
	}
	if o.StoreDir == "" {
		return d, nil
	}
	var err error
	d.committer, err = commit.Open(o.StoreDir, commit.Options{FS: d.fs, Listener: func(e commit.Event) { event(e) }})
	return d, err
}

func (d *disk) close() error {
	if d.committer == nil {
		return nil
	}
	return d.committer.Close()
}

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

package jetstream

import (
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
	maker     *vfs.Maker // of consumers' directories
	keys      msgstore.KeyRing
	host      *msgstore.Host    // nil without a store directory: then all is in memory
	committer *commit.Committer // of host
	// found are the streams on disk when the directory was opened, by account.
	// Each is used once.
	found map[string][]msgstore.StreamMeta
}

// blockCache bounds the contents of blocks in memory: what was just written and
// is about to be delivered. What is read again later the system's page cache has.
const blockCache = 32 << 20

func openDisk(o *Options, event func(msgstore.Event)) (*disk, error) {
	d := &disk{opts: o, dir: filepath.Join(o.StoreDir, "jetstream"), fs: o.FS, found: make(map[string][]msgstore.StreamMeta)}
	if d.fs == nil {
		d.fs = vfs.OS
	}
	d.maker = vfs.NewMaker(d.fs)
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
	if err := vfs.MkdirAllSynced(d.fs, d.dir, 0o750); err != nil {
		return nil, err
	}
	host, err := msgstore.NewHost(o.StoreDir, msgstore.HostOptions{
		FS: d.fs, CacheBytes: blockCache, DiskOps: o.DiskOps, Events: event,
	})
	if err != nil {
		return nil, err
	}
	streams, err := host.Streams(d.keys)
	if err != nil {
		host.Close()
		return nil, err
	}
	for _, m := range streams {
		d.found[m.Account] = append(d.found[m.Account], m)
	}
	d.host, d.committer = host, host.Committer()
	return d, nil
}

func (d *disk) close() error {
	if d.host == nil {
		return nil
	}
	return d.host.Close()
}

// streamDir is where a stream's files are.
func (d *disk) streamDir(account, stream string) string {
	return filepath.Join(d.dir, account, "streams", stream)
}

// openStore opens or creates the store of a stream.
func (d *disk) openStore(a *Account, cfg *jsapi.StreamConfig, created time.Time) (msgstore.Store, error) {
	if cfg.Storage == jsapi.MemoryStorage || d.host == nil {
		c := storeConfig(cfg, created)
		c.Storage = msgstore.MemoryStorage
		return msgstore.NewMemStore(c)
	}
	return d.openFileStore(a, cfg, created, d.streamDir(a.name, cfg.Name))
}

// openFileStore opens or creates a file store in a directory below the store
// directory.
func (d *disk) openFileStore(a *Account, cfg *jsapi.StreamConfig, created time.Time, dir string) (msgstore.Store, error) {
	rel, err := filepath.Rel(d.opts.StoreDir, dir)
	if err != nil {
		return nil, err
	}
	opts := msgstore.FileOptions{Account: a.name, Dir: rel, Keys: d.keys, MaxPayload: d.opts.MaxPayload, SyncEvery: d.opts.SyncInterval}
	if d.opts.SyncInterval > 0 || cfg.PersistMode == jsapi.PersistAsync {
		opts.Durability = msgstore.Interval
	}
	return msgstore.OpenFileStore(d.host, storeConfig(cfg, created), opts)
}

// place gives a directory, of which no store is open and in which all is durable, its
// final name.
func (d *disk) place(dir, final string) error {
	rel, err := filepath.Rel(d.opts.StoreDir, dir)
	if err != nil {
		return err
	}
	q := d.committer.NewQueue(func([]*commit.Op) {})
	if err := q.Perform(&commit.Op{Forget: rel}); err != nil {
		return err
	}
	if err := d.fs.Rename(dir, final); err != nil {
		return err
	}
	return d.fs.SyncDir(filepath.Dir(final))
}

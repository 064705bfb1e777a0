package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/archive"
	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/vfs"
)

// What a restore makes of files: those of consumers, and archives of version 1,
// which are the files of a stream directory.

// restoredConsumer is a consumer of an archive.
type restoredConsumer struct {
	name    string
	created time.Time
	config  *jsapi.ConsumerConfig
	state   consumerstate.State
}

// writeConsumers makes the files of the archive's consumers in a stream directory, for
// the stream to find when it is opened. It returns those that are in memory only: all,
// if the directory is "".
func (rs *restore) writeConsumers(archived map[string][]byte, created time.Time, dir string) (inMemory []restoredConsumer, err error) {
	for name, data := range archived {
		if !jsapi.ValidName(name) || len(name) > jsapi.MaxNameLen {
			return nil, fmt.Errorf("invalid consumer name %q", name)
		}
		var c archivedConsumer
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("reading consumer %s: %w", name, err)
		}
		if c.Config == nil {
			return nil, fmt.Errorf("reading consumer %s: no configuration", name)
		}
		if err := c.Config.Revive(name); err != nil {
			return nil, fmt.Errorf("consumer %s: %s", name, err.Description)
		}
		r := restoredConsumer{name: name, created: created, config: c.Config}
		if err := json.Unmarshal(c.State, &r.state); err != nil {
			return nil, fmt.Errorf("reading the state of consumer %s: %w", name, err)
		}
		if dir == "" || c.Config.MemoryStorage {
			inMemory = append(inMemory, r)
			continue
		}
		meta, err := json.Marshal(consumerMeta{created, name, *c.Config})
		if err != nil {
			return nil, err
		}
		if _, err := consumerstate.CreateFiles(rs.filesOptions(dir, name), meta, &r.state, consumerstate.Checkpoint{}, time.Now().UnixNano()); err != nil {
			return nil, err
		}
	}
	return inMemory, nil
}

// filesOptions are those of a consumer's files in a stream directory.
func (rs *restore) filesOptions(dir, consumer string) consumerstate.FilesOptions {
	d := rs.account.engine.disk
	return consumerstate.FilesOptions{
		FS: d.fs, Dir: filepath.Join(dir, "obs", consumer),
		Account: rs.account.name, Stream: rs.config.Name, Consumer: consumer, Ring: d.keys,
	}
}

// unpack writes the files of an archive of version 1 into dir, durably. It returns
// when the stream was created.
func (rs *restore) unpack(r *archive.Reader, dir string) (created time.Time, err error) {
	d := rs.account.engine.disk
	var stored struct {
		Created time.Time
		Name    string `json:"name"`
	}
	var total uint64
	dirs := make(map[string]struct{})
	for {
		f, err := r.NextFile()
		if err == io.EOF {
			break
		}
		if errors.Is(err, archive.ErrUnexpected) {
			return created, errors.New("unexpected content (account=" + rs.account.name + ")")
		}
		if err != nil {
			return created, err
		}
		total += uint64(f.Size)
		if err := rs.checkRoom(total); err != nil {
			return created, err
		}
		content := f.Content
		if f.Name == "meta.inf" {
			meta, err := io.ReadAll(content)
			if err != nil {
				return created, err
			}
			if err := json.Unmarshal(meta, &stored); err != nil {
				return created, fmt.Errorf("reading meta.inf: %w", err)
			}
			if stored.Name != rs.config.Name {
				return created, errors.New("stream names do not match")
			}
			content = bytes.NewReader(meta)
		}
		name := filepath.Join(dir, f.Name)
		if err := vfs.MkdirAllSynced(d.fs, filepath.Dir(name), 0o750); err != nil {
			return created, err
		}
		if err := vfs.CopySynced(d.fs, name, content, 0o640); err != nil {
			return created, err
		}
		dirs[filepath.Dir(name)] = struct{}{}
	}
	for dir := range dirs {
		if err := d.fs.SyncDir(dir); err != nil {
			return created, err
		}
	}
	if stored.Name == "" {
		return created, io.EOF
	}
	return stored.Created.UTC(), nil
}

// hiddenDir is a directory for what is not a stream yet: a start removes it.
func (rs *restore) hiddenDir() string {
	return rs.account.engine.disk.streamDir(rs.account.name, ".restore."+randomID(8))
}

// build has fill complete the store in a hidden directory, makes that the stream's, and
// returns the store in it. A stream is there as a whole, or not at all.
func (rs *restore) build(dir string, cfg *jsapi.StreamConfig, created time.Time, fill func(msgstore.Store) error) (msgstore.Store, error) {
	a, d := rs.account, rs.account.engine.disk
	store, err := d.openFileStore(a, cfg, created, dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(store), store.Stop()); err != nil {
		return nil, err
	}
	if err := d.place(dir, d.streamDir(a.name, cfg.Name)); err != nil {
		return nil, err
	}
	return d.openStore(a, rs.config, created)
}

// restoreFiles makes a stream of an archive of version 1.
func (rs *restore) restoreFiles(r *archive.Reader) (*Stream, error) {
	a, d := rs.account, rs.account.engine.disk
	if d.host == nil {
		return nil, msgstore.ErrStoreWrongType
	}
	dir := rs.hiddenDir()
	defer d.fs.RemoveAll(dir)
	created, err := rs.unpack(r, dir)
	if err != nil {
		return nil, err
	}
	if _, err := rs.unpackedConsumers(dir); err != nil {
		return nil, err
	}
	store, err := rs.build(dir, rs.config, created, func(store msgstore.Store) error {
		return store.UpdateConfig(storeConfig(rs.config, created))
	})
	if err != nil {
		return nil, err
	}
	return a.newStream(rs.config, created, store), nil
}

// restoreFilesToMemory makes a memory stream of an archive of version 1: the
// files are unpacked under a name that a start removes, and read again in the
// form of version 2.
func (rs *restore) restoreFilesToMemory(r *archive.Reader) (*Stream, error) {
	a, d := rs.account, rs.account.engine.disk
	if d.host == nil {
		return nil, msgstore.ErrStoreWrongType
	}
	dir := rs.hiddenDir()
	defer d.fs.RemoveAll(dir)
	created, err := rs.unpack(r, dir)
	if err != nil {
		return nil, err
	}
	cfg := *rs.config
	cfg.Storage = jsapi.FileStorage
	store, err := d.openFileStore(a, &cfg, created, dir)
	if err != nil {
		return nil, err
	}
	defer store.Stop()
	consumers, err := rs.unpackedConsumers(dir)
	if err != nil {
		return nil, err
	}
	in, out := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		out.CloseWithError(store.Snapshot(out, msgstore.SnapshotOptions{Version: 2, Consumers: consumers}))
	}()
	defer func() {
		in.Close()
		<-written
	}()
	entries, err := archive.NewReader(in)
	if err != nil {
		return nil, err
	}
	return rs.restoreEntries(entries, created)
}

// unpackedConsumers reads and checks the consumers of an unpacked stream directory.
func (rs *restore) unpackedConsumers(dir string) ([]msgstore.SnapshotConsumer, error) {
	entries, err := rs.account.engine.disk.fs.ReadDir(filepath.Join(dir, "obs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []msgstore.SnapshotConsumer
	for _, e := range entries {
		files, inf, err := consumerstate.OpenFiles(rs.filesOptions(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading consumer %s: %w", e.Name(), err)
		}
		state, _, err := files.ReadState()
		if err != nil {
			return nil, fmt.Errorf("reading the state of consumer %s: %w", e.Name(), err)
		}
		var meta consumerMeta
		if err := json.Unmarshal(inf, &meta); err != nil {
			return nil, fmt.Errorf("reading consumer %s: %w", e.Name(), err)
		}
		if err := meta.Revive(e.Name()); err != nil {
			return nil, fmt.Errorf("consumer %s: %s", e.Name(), err.Description)
		}
		c := msgstore.SnapshotConsumer{Name: e.Name(), Meta: inf}
		if c.State, err = json.Marshal(&state); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return snapshotConsumers(list)
}

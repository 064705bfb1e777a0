package msgstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/natsd/natsd/msgstore/internal/keys"
	"github.com/natsd/natsd/msgstore/internal/meta"
	"github.com/natsd/natsd/msgstore/vfs"
)

const (
	metaInf = "meta.inf"
	metaSum = "meta.sum"
	metaKey = "meta.key"

	// maxMeta bounds meta.inf: a stream's configuration is limited to 1 MiB by
	// the largest request that can make one, and filters are listed twice.
	maxMeta = 16 << 20
)

// ErrMetaDamaged says that meta.inf does not match its checksum. The stream is
// left as it is.
var ErrMetaDamaged = errors.New("checksums do not match")

// oldMetaKey is the stream's key before a change, kept until meta.inf is sealed with
// the new one.
const oldMetaKey = metaKey + ".old"

// loadKey opens the key of the stream, and makes a new one if encryption is new, or is
// configured otherwise than it was.
func (d *disk) loadKey() error {
	file, err := vfs.ReadFile(d.fs, path.Join(d.dir, metaKey), maxKeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if d.ring.Enabled() {
			return d.changeKey(nil)
		}
		return nil
	case err != nil:
		return err
	case !d.ring.Enabled():
		return ErrNoMainKey
	}
	key, opened, err := d.ring.Open(d.object(), file)
	if err != nil {
		return err
	}
	d.key = key
	if !opened.Current(d.ring) {
		d.host.event(Converted{Account: d.account, Stream: d.name, Cipher: d.ring.Cipher.LogName()})
		return d.changeKey(file)
	}
	if raw, err := d.storedMeta(); err == nil {
		if _, err := key.Unseal(raw); err != nil {
			return d.changeKey(nil) // a change that was interrupted
		}
	}
	d.fs.Remove(path.Join(d.dir, oldMetaKey))
	return nil
}

// changeKey gives the stream a new key and seals meta.inf with it. current is the key
// file of a meta.inf that d.key opens; nil if it is plain, or sealed with the old key.
func (d *disk) changeKey(current []byte) error {
	var plain []byte
	switch raw, err := d.storedMeta(); {
	case errors.Is(err, fs.ErrNotExist): // it is written later
	case err != nil:
		return err
	default:
		if plain, err = d.unsealMeta(raw); err != nil {
			return err
		}
	}
	if current != nil {
		if err := vfs.ReplaceFile(d.fs, path.Join(d.dir, oldMetaKey), current, 0o600); err != nil {
			return err
		}
	}
	key, file, err := d.ring.New(d.object())
	if err != nil {
		return err
	}
	if err := vfs.ReplaceFile(d.fs, path.Join(d.dir, metaKey), file, 0o600); err != nil {
		return err
	}
	d.key = key
	if plain != nil {
		if err := d.writeMeta(plain); err != nil {
			return err
		}
	}
	d.fs.Remove(path.Join(d.msgs, indexFile)) // nobody could open it any more
	d.fs.Remove(path.Join(d.dir, oldMetaKey))
	return nil
}

func (d *disk) storedMeta() ([]byte, error) {
	return readMetaFiles(d.fs, d.dir, meta.StreamName(d.s.cfg.Name))
}

// readMeta returns the plain meta.inf, repairing a pair whose replacement was
// interrupted.
func (d *disk) readMeta() ([]byte, error) {
	raw, err := d.storedMeta()
	if err != nil {
		return nil, err
	}
	return d.unsealMeta(raw)
}

func (d *disk) unsealMeta(raw []byte) ([]byte, error) {
	return unsealMeta(d.fs, d.dir, d.object(), d.ring, d.key, raw)
}

// unsealMeta returns the plain content of a meta.inf. key is that of the stream, nil
// without one. While the key is being changed meta.inf may still be plain, or sealed
// with the key before.
func unsealMeta(fsys vfs.FS, dir string, object keys.Object, ring KeyRing, key *keys.Key, raw []byte) ([]byte, error) {
	if key == nil {
		return raw, nil
	}
	plain, err := key.Unseal(raw)
	if err == nil || json.Valid(raw) {
		if err != nil {
			plain = raw
		}
		return plain, nil
	}
	if file, rerr := vfs.ReadFile(fsys, path.Join(dir, oldMetaKey), maxKeyFile); rerr == nil {
		if old, _, rerr := ring.Open(object, file); rerr == nil {
			return old.Unseal(raw)
		}
	}
	return nil, err
}

// readMetaFiles returns meta.inf as stored. Errors: fs.ErrNotExist,
// ErrMetaDamaged.
func readMetaFiles(fsys vfs.FS, dir, name string) ([]byte, error) {
	read := func(n string) []byte {
		b, err := vfs.ReadFile(fsys, path.Join(dir, n), maxMeta)
		if err != nil {
			return nil
		}
		return b
	}
	f := meta.Files{Inf: read(metaInf), Sum: read(metaSum), InfTmp: read(metaInf + ".tmp"), SumTmp: read(metaSum + ".tmp")}
	switch meta.Judge(name, f) {
	case meta.Absent:
		return nil, fmt.Errorf("%s: %w", path.Join(dir, metaInf), fs.ErrNotExist)
	case meta.Mismatch:
		return nil, ErrMetaDamaged
	case meta.TakeSum:
		if err := fsys.Rename(path.Join(dir, metaSum+".tmp"), path.Join(dir, metaSum)); err != nil {
			return nil, err
		}
		return f.Inf, fsys.SyncDir(dir)
	case meta.TakeInf:
		if err := fsys.Rename(path.Join(dir, metaInf+".tmp"), path.Join(dir, metaInf)); err != nil {
			return nil, err
		}
		return f.InfTmp, fsys.SyncDir(dir)
	}
	return f.Inf, nil
}

// writeMeta replaces meta.inf and meta.sum.
func (d *disk) writeMeta(plain []byte) error {
	stored := plain
	if d.key != nil {
		var err error
		if stored, err = d.key.Seal(plain); err != nil {
			return err
		}
	}
	if err := vfs.WriteSynced(d.fs, path.Join(d.dir, metaInf+".tmp"), stored, 0o600); err != nil {
		return err
	}
	sum := meta.Sum(meta.StreamName(d.s.cfg.Name), stored)
	if err := vfs.WriteSynced(d.fs, path.Join(d.dir, metaSum+".tmp"), sum, 0o600); err != nil {
		return err
	}
	// Both names must be there before one of them replaces what is valid: a power cut
	// may keep the first rename, which then needs meta.sum.tmp.
	if err := d.fs.SyncDir(d.dir); err != nil {
		return err
	}
	return d.renameMeta()
}

// restoreMeta writes the configuration that is in force, when one that was to take its
// place was not written as a whole: the next start must not find that. The caller holds
// maintaining.
func (d *disk) restoreMeta() {
	if !d.doubtful {
		return
	}
	d.s.mu.RLock()
	cfg := d.s.cfg
	d.s.mu.RUnlock()
	d.doubtful = d.writeMeta(cfg.metaJSON()) != nil
}

func (d *disk) renameMeta() error {
	for _, n := range []string{metaInf, metaSum} {
		if err := d.fs.Rename(path.Join(d.dir, n+".tmp"), path.Join(d.dir, n)); err != nil {
			return err
		}
	}
	return d.fs.SyncDir(d.dir)
}

func (d *disk) writeMetaIfMissing() error {
	if _, err := d.fs.Stat(path.Join(d.dir, metaSum)); err == nil {
		if info, err := d.fs.Stat(path.Join(d.dir, metaInf)); err == nil && info.Size() > 0 {
			return nil
		}
	}
	return d.writeMeta(d.s.cfg.metaJSON())
}

// metaJSON is the content of meta.inf: Created, then the members of the stream's
// configuration.
func (c *Config) metaJSON() []byte {
	created := c.Created
	if created.IsZero() {
		created = time.Now()
	}
	b := []byte(`{"Created":"` + created.UTC().Format(time.RFC3339Nano) + `"`)
	members := c.Meta
	if members == nil {
		members = c.ownJSON()
	}
	members = bytes.TrimSpace(members)
	if len(members) > 2 {
		b = append(b, ',')
	}
	return append(b, members[1:]...)
}

// ownJSON is the stream configuration for those who have none of their own.
func (c *Config) ownJSON() []byte {
	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	type config struct {
		Name        string        `json:"name"`
		Subjects    []string      `json:"subjects,omitempty"`
		Retention   string        `json:"retention"`
		MaxCons     int           `json:"max_consumers"`
		MaxMsgs     int64         `json:"max_msgs"`
		MaxBytes    int64         `json:"max_bytes"`
		MaxAge      time.Duration `json:"max_age"`
		MaxPer      int64         `json:"max_msgs_per_subject"`
		MaxMsgSize  int64         `json:"max_msg_size"`
		Discard     string        `json:"discard"`
		Storage     string        `json:"storage"`
		Replicas    int           `json:"num_replicas"`
		Window      time.Duration `json:"duplicate_window"`
		Compression string        `json:"compression"`
		FirstSeq    uint64        `json:"first_seq,omitempty"`
		TTL         bool          `json:"allow_msg_ttl,omitempty"`
		Schedules   bool          `json:"allow_msg_schedules,omitempty"`
		MarkerTTL   time.Duration `json:"subject_delete_marker_ttl,omitempty"`
		DiscardPer  bool          `json:"discard_new_per_subject,omitempty"`
	}
	j := config{
		Name: c.Name, Subjects: c.Subjects, Retention: "limits", MaxCons: -1,
		MaxMsgs: unlimited(c.MaxMsgs), MaxBytes: unlimited(c.MaxBytes), MaxAge: c.MaxAge,
		MaxPer: unlimited(c.MaxMsgsPerSubject), MaxMsgSize: unlimited(int64(c.MaxMsgSize)),
		Discard: "old", Storage: c.Storage.String(), Replicas: 1, Window: 2 * time.Minute,
		Compression: "none", FirstSeq: c.FirstSeq, TTL: c.AllowMsgTTL, Schedules: c.AllowMsgSchedules,
		MarkerTTL: c.SubjectDeleteMarkerTTL, DiscardPer: c.DiscardNewPer,
	}
	if c.WorkQueue {
		j.Retention = "workqueue"
	}
	if c.Discard == DiscardNew {
		j.Discard = "new"
	}
	if c.Compression == S2Compression {
		j.Compression = "s2"
	}
	b, err := json.Marshal(j)
	if err != nil {
		panic("msgstore: " + err.Error())
	}
	return b
}

// StreamMeta is what is known of a stream directory without opening the store.
type StreamMeta struct {
	Account, Name string
	// Meta is the plain content of meta.inf; nil if Err is set.
	Meta []byte
	// Err says why the stream cannot be opened: ErrMetaDamaged, ErrNoEncryption,
	// ErrKeysNotRecovered, ... The files stay as they are.
	Err error
}

// ReadStreamMeta reads and checks the meta files of a stream directory, which is
// given by its path. It changes nothing but completes an interrupted replacement
// of the pair.
func ReadStreamMeta(fsys vfs.FS, dir, account string, ring KeyRing) ([]byte, error) {
	name := path.Base(dir)
	raw, err := readMetaFiles(fsys, dir, meta.StreamName(name))
	if err != nil {
		return nil, err
	}
	file, err := vfs.ReadFile(fsys, path.Join(dir, metaKey), maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return raw, nil
	}
	if err != nil {
		return nil, err
	}
	if !ring.Enabled() {
		return nil, ErrNoEncryption
	}
	object := keys.OfStream(account, name)
	key, _, err := ring.Open(object, file)
	if err != nil {
		return nil, err
	}
	return unsealMeta(fsys, dir, object, ring, key, raw)
}

// unfinished tells whether a stream directory without meta files is what a power
// cut left of a creation, which nobody was told about: no block holds anything.
func (h *Host) unfinished(dir string) bool {
	entries, err := h.fs.ReadDir(path.Join(dir, "msgs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".blk" {
			continue
		}
		if i, err := h.fs.Stat(path.Join(dir, "msgs", e.Name())); err != nil || i.Size() > 0 {
			return false
		}
	}
	return true
}

// Streams lists the streams of the store directory in the order of account and
// name. It removes what an interrupted creation or deletion left.
func (h *Host) Streams(ring KeyRing) ([]StreamMeta, error) {
	root := path.Join(h.dir, "jetstream")
	accounts, err := h.fs.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []StreamMeta
	for _, a := range accounts {
		dir := path.Join(root, a.Name(), "streams")
		streams, err := h.fs.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range streams {
			if !e.IsDir() {
				continue
			}
			if e.Name()[0] == '.' {
				h.fs.RemoveAll(path.Join(dir, e.Name()))
				continue
			}
			m := StreamMeta{Account: a.Name(), Name: e.Name()}
			m.Meta, m.Err = ReadStreamMeta(h.fs, path.Join(dir, e.Name()), m.Account, ring)
			if errors.Is(m.Err, fs.ErrNotExist) && h.unfinished(path.Join(dir, e.Name())) {
				h.fs.RemoveAll(path.Join(dir, e.Name()))
				continue
			}
			list = append(list, m)
		}
	}
	return list, nil
}

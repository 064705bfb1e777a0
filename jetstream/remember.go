package jetstream

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/natsd/natsd/msgstore"
	"github.com/natsd/natsd/msgstore/seqset"
	"github.com/natsd/natsd/msgstore/vfs"
	"github.com/natsd/natsd/natsproto"
)

// remembered is the content of ids.db: what a stream that stops in order knows of
// its messages' ids, so that the next start need not read all messages of the
// duplicate window to find it out. It is derived, and nothing but time depends on
// it: it counts only while the stream ends where it did then, and is not synced.
type remembered struct {
	lastSeq  uint64 // of the stream, when the file was written
	lastTime int64
	window   time.Duration // of the ids
	newest   int64         // time of the newest message with an id
	ids      *seqset.Set   // sequences of the messages with ids in the window
	lastID   []byte        // of the stream's last message
	hidden   bool          // the last id is not in the file, since the messages are encrypted
}

// The file: magic, version, last sequence, last time, window, time of the newest
// id, flags, length of the last id, last id, sequences, CRC-32C of all before.
const (
	idsFile      = "ids.db"
	idsMagic     = "NIDS\x01"
	idsFixed     = len(idsMagic) + 4*8 + 1 + 4
	idsHidden    = 1
	maxIDsFile   = 64 << 20 // sequences that lie apart take 264 bytes each; beyond, a start reads the messages
	maxKeptMsgID = maxHeaderSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *remembered) append(b []byte) []byte {
	from := len(b)
	b = append(b, idsMagic...)
	for _, n := range [...]uint64{r.lastSeq, uint64(r.lastTime), uint64(r.window), uint64(r.newest)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	if r.hidden {
		b = append(b, idsHidden)
	} else {
		b = append(b, 0)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.lastID)))
	b = append(b, r.lastID...)
	b = r.ids.AppendTo(b)
	return appendSum(b, from)
}

func appendSum(b []byte, from int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// decodeRemembered reads ids.db. It reports false for what cannot be used.
func decodeRemembered(b []byte) (*remembered, bool) {
	if len(b) < idsFixed+4 || string(b[:len(idsMagic)]) != idsMagic {
		return nil, false
	}
	b, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, false
	}
	n := b[len(idsMagic):]
	r := &remembered{
		lastSeq: binary.LittleEndian.Uint64(n), lastTime: int64(binary.LittleEndian.Uint64(n[8:])),
		window: time.Duration(binary.LittleEndian.Uint64(n[16:])), newest: int64(binary.LittleEndian.Uint64(n[24:])),
		hidden: n[32]&idsHidden != 0,
	}
	size := binary.LittleEndian.Uint32(n[33:])
	rest := b[idsFixed:]
	if size > maxKeptMsgID || int(size) > len(rest) {
		return nil, false
	}
	r.lastID = rest[:size]
	ids, used, err := seqset.Decode(rest[size:])
	if err != nil || used != len(rest)-int(size) {
		return nil, false
	}
	r.ids = ids
	return r, true
}

// remember collects what is known of the messages' ids, in the turn.
func (st *Stream) remember() *remembered {
	d := &st.turn.dedup
	r := &remembered{window: d.window, ids: new(seqset.Set)}
	for n := d.head; n != d.end(); n++ {
		if e := d.at(n); d.ids[e.hash] == n {
			r.ids.Insert(e.seq)
			r.newest = max(r.newest, e.time)
		}
	}
	if r.hidden = st.engine.disk.keys.Enabled(); !r.hidden {
		r.lastID = []byte(st.turn.overlay.lastMsgID)
	}
	return r
}

// writeRemembered makes ids.db, when nothing changes any more.
func (st *Stream) writeRemembered(r *remembered) {
	d := st.engine.disk
	if st.store.Type() != msgstore.FileStorage || st.failure.Load() != nil {
		return
	}
	var s msgstore.State
	st.store.FastState(&s)
	r.lastSeq, r.lastTime = s.LastSeq, s.LastTime
	name := filepath.Join(d.streamDir(st.account.name, st.name), idsFile)
	if s.LastSeq == 0 || r.ids.EncodedLen() > maxIDsFile-idsFixed-maxKeptMsgID {
		d.fs.Remove(name)
		return
	}
	f, err := d.fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return // the next start reads the messages
	}
	defer f.Close()
	f.WriteAt(r.append(nil), 0)
}

// readRemembered returns what ids.db says, if that is so still; else nil.
func (st *Stream) readRemembered() *remembered {
	if st.store.Type() != msgstore.FileStorage {
		return nil
	}
	d := st.engine.disk
	b, err := vfs.ReadFile(d.fs, filepath.Join(d.streamDir(st.account.name, st.name), idsFile), maxIDsFile)
	if err != nil {
		return nil
	}
	var s msgstore.State
	st.store.FastState(&s)
	r, ok := decodeRemembered(b)
	if !ok || r.lastSeq != s.LastSeq || r.lastTime != s.LastTime || r.window < st.turn.dedup.window {
		return nil
	}
	return r
}

// recoverIDs fills the duplicate window, and takes the id of the last message. It
// reports whether the stream was stopped in order and is as it was then.
func (st *Stream) recoverIDs() (orderly bool) {
	r := st.readRemembered()
	if r != nil && !r.hidden {
		st.turn.overlay.lastMsgID = string(r.lastID)
	} else {
		st.recoverLastID()
	}
	d := &st.turn.dedup
	if d.window <= 0 || st.Config().Mirror != nil {
		return r != nil
	}
	now := time.Now().UnixNano()
	last := st.turn.overlay.lastSeq
	switch {
	case r == nil:
		st.recoverRun(seqset.Run{First: st.store.GetSeqFromTime(now - int64(d.window)), Last: last}, now)
	case now-r.newest < int64(d.window):
		for run := range r.ids.Runs() {
			st.recoverRun(run, now)
		}
	}
	return r != nil
}

// recoverRun takes the ids of stored messages.
func (st *Stream) recoverRun(run seqset.Run, now int64) {
	d := &st.turn.dedup
	var batch msgstore.Batch
	for seq := run.First; seq <= run.Last; {
		batch.Reset()
		limit := msgstore.BatchLimit{Msgs: int(min(1024, run.Last-seq+1)), Bytes: 4 << 20}
		next, err := st.store.LoadBatch(nil, seq, limit, &batch)
		if err != nil {
			next++ // damaged: reported when it was found
		}
		for i := range batch.Msgs {
			sm := &batch.Msgs[i]
			if sm.Seq > run.Last || now-sm.Time >= int64(d.window) {
				continue
			}
			if id := natsproto.HeaderValue(sm.Header, hdrMsgID); len(id) > 0 {
				d.add(id, sm.Seq, sm.Time)
			}
		}
		seq = max(next, seq+1)
	}
}

// recoverLastID takes the id of the last stored message.
func (st *Stream) recoverLastID() {
	o := &st.turn.overlay
	o.lastMsgID = ""
	if sm, err := st.store.LoadMsg(o.lastSeq, nil); err == nil {
		o.lastMsgID = string(natsproto.HeaderValue(sm.Header, hdrMsgID))
	}
}

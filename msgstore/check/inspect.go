package check

import (
	"cmp"
	"encoding/json"
	"math/bits"
	"path/filepath"
	"slices"
	"time"

	"github.com/natsd/natsd/msgstore/consumerstate"
	"github.com/natsd/natsd/msgstore/internal/record"
	"github.com/natsd/natsd/msgstore/internal/scan"
)

// InspectOptions say what Inspect lists besides the overview.
type InspectOptions struct {
	Options
	Blocks, Records, Subjects, Consumers bool
	// Match, if not nil, limits records and subjects to those it accepts.
	Match func(subject string) bool
}

// Inspection describes a stream as it is stored.
type Inspection struct {
	Account     string          `json:"account"`
	Stream      string          `json:"stream"`
	Dir         string          `json:"dir"`
	Created     time.Time       `json:"created"`
	Config      json.RawMessage `json:"config,omitempty"`
	Encryption  string          `json:"encryption"`  // none, chacha, aes
	Compression string          `json:"compression"` // as configured
	Index       string          `json:"index"`       // exact, stale, ahead, missing
	State       StreamState     `json:"state"`
	DiskBytes   int64           `json:"disk_bytes"` // of the block files
	RawBytes    int64           `json:"raw_bytes"`  // decompressed
	NumBlocks   int             `json:"num_blocks"`
	NumSubjects int             `json:"num_subjects"`

	Blocks    []BlockInfo    `json:"blocks,omitempty"`
	Records   []RecordInfo   `json:"records,omitempty"`
	Subjects  []SubjectInfo  `json:"subjects,omitempty"`
	Consumers []ConsumerInfo `json:"consumers,omitempty"`
	Lost      []Lost         `json:"lost,omitempty"`
}

// BlockInfo is a block file.
type BlockInfo struct {
	Number     uint64 `json:"number"`
	Size       int64  `json:"size"`
	RawSize    int    `json:"raw_size"`
	FirstSeq   uint64 `json:"first_seq"`
	LastSeq    uint64 `json:"last_seq"`
	Records    int    `json:"records"`
	Messages   uint64 `json:"messages"` // live
	Cipher     string `json:"cipher"`
	Compressed bool   `json:"compressed"`
	Error      string `json:"error,omitempty"`
}

// RecordInfo is a record of a block.
type RecordInfo struct {
	Block   uint64    `json:"block"`
	Offset  int       `json:"offset"`
	Size    int       `json:"size"`
	Kind    string    `json:"kind"`
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Subject string    `json:"subject,omitempty"`
	Header  int       `json:"header_bytes"`
	Data    int       `json:"data_bytes"`
	Live    bool      `json:"live"`
}

// SubjectInfo counts the live messages of a subject.
type SubjectInfo struct {
	Subject  string `json:"subject"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
}

// ConsumerInfo is a stored consumer.
type ConsumerInfo struct {
	Name   string               `json:"name"`
	Config json.RawMessage      `json:"config,omitempty"`
	State  *consumerstate.State `json:"state"`
}

// Inspect describes everything at or below path and hands each stream to fn.
func Inspect(path string, opts InspectOptions, fn func(*Inspection) error) error {
	_, err := examineAll(path, twoPasses, true, &opts.Options, func(s *stream) error {
		x, err := s.inspect(&opts)
		if err != nil {
			return err
		}
		return fn(x)
	})
	return err
}

func (s *stream) inspect(opts *InspectOptions) (*Inspection, error) {
	x := &Inspection{
		Account: s.account, Stream: s.stream, Dir: s.dir, Created: s.cfg.Created, Config: s.metaRaw,
		Encryption: "none", Compression: cmp.Or(s.cfg.Compression, "none"), Index: "missing",
		NumBlocks: len(s.blocks), Lost: s.lost,
	}
	if s.keys.sealed {
		x.Encryption = s.keys.opened.Cipher.String()
	}
	switch {
	case !s.indexFile:
	case s.exact && !s.manifest:
		x.Index = "exact"
	case s.ahead && !s.manifest:
		x.Index = "ahead"
	default:
		x.Index = "stale"
	}
	for _, b := range s.blocks {
		x.DiskBytes += b.size
		x.RawBytes += int64(b.raw)
		if opts.Blocks {
			info := BlockInfo{Number: b.number, Size: b.size, RawSize: b.raw, FirstSeq: b.firstSeq, LastSeq: b.lastSeq,
				Records: b.records, Messages: b.messages, Cipher: b.cipher.String(), Compressed: b.compressed}
			if b.unreadable != nil {
				info.Error = b.unreadable.Error()
			}
			x.Blocks = append(x.Blocks, info)
		}
	}
	subjects := map[string]*SubjectInfo{}
	err := s.records(func(r RecordInfo) {
		if r.Live {
			sub := subjects[r.Subject]
			if sub == nil {
				sub = &SubjectInfo{Subject: r.Subject, FirstSeq: r.Seq}
				subjects[r.Subject] = sub
			}
			sub.Messages++
			sub.Bytes += uint64(r.Size)
			sub.LastSeq = r.Seq
		}
		if opts.Records && (opts.Match == nil || r.Subject != "" && opts.Match(r.Subject)) {
			x.Records = append(x.Records, r)
		}
	})
	if err != nil {
		return nil, err
	}
	x.NumSubjects = len(subjects)
	if opts.Subjects {
		for _, sub := range subjects {
			if opts.Match == nil || opts.Match(sub.Subject) {
				x.Subjects = append(x.Subjects, *sub)
			}
		}
		slices.SortFunc(x.Subjects, func(a, b SubjectInfo) int { return cmp.Compare(a.Subject, b.Subject) })
	}
	list := s.consumers()
	x.State = s.state
	if opts.Consumers {
		for _, c := range list {
			x.Consumers = append(x.Consumers, ConsumerInfo{c.name, c.inf, c.state})
		}
	}
	return x, nil
}

// records calls fn with every valid record of a scanned stream.
func (s *stream) records(fn func(RecordInfo)) error {
	for _, b := range s.blocks {
		c, err := s.load(b)
		if err != nil {
			return err
		}
		if b.unreadable != nil {
			continue
		}
		_, err = scan.Run(s.scanBlock(b, &c), func(at int, r *record.Record) error {
			fn(RecordInfo{
				Block: b.number, Offset: at, Size: r.Size, Kind: r.Kind.String(), Seq: r.Seq, Time: time.Unix(0, r.Time).UTC(),
				Subject: string(r.Subject), Header: len(r.Header), Data: len(r.Data),
				Live: r.Kind == record.Message && s.live.Contains(r.Seq),
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Stats are figures about the messages of a stream.
type Stats struct {
	State       StreamState   `json:"state"`
	Dir         string        `json:"dir"`
	DiskBytes   int64         `json:"disk_bytes"`
	RawBytes    int64         `json:"raw_bytes"`
	NumBlocks   int           `json:"num_blocks"`
	NumSubjects int           `json:"num_subjects"`
	Lost        uint64        `json:"lost"`
	FirstTime   time.Time     `json:"first_time"`
	LastTime    time.Time     `json:"last_time"`
	PerSecond   float64       `json:"messages_per_second"` // between first and last
	MinSize     int           `json:"min_size"`
	MaxSize     int           `json:"max_size"`
	MeanSize    float64       `json:"mean_size"`
	Sizes       []SizeClass   `json:"sizes"`
	Top         []SubjectInfo `json:"top_subjects"` // by messages
}

// SizeClass counts records of less than Below bytes and at least half of it.
type SizeClass struct {
	Below    int    `json:"below"`
	Messages uint64 `json:"messages"`
}

// topSubjects is how many subjects Stats lists.
const topSubjects = 10

// Summarise computes figures about every stream at or below path.
func Summarise(path string, opts Options, fn func(*Stats) error) error {
	return examine(path, twoPasses, &opts, func(s *stream) error {
		x := &Stats{Dir: filepath.Clean(s.dir), NumBlocks: len(s.blocks), Lost: s.numLost(), Sizes: []SizeClass{}, Top: []SubjectInfo{}}
		for _, b := range s.blocks {
			x.DiskBytes += b.size
			x.RawBytes += int64(b.raw)
		}
		var classes [bits.UintSize]uint64
		subjects := map[string]*SubjectInfo{}
		total := 0
		err := s.records(func(r RecordInfo) {
			if !r.Live {
				return
			}
			if total == 0 {
				x.FirstTime, x.MinSize = r.Time, r.Size
			}
			x.LastTime = r.Time
			x.MinSize, x.MaxSize = min(x.MinSize, r.Size), max(x.MaxSize, r.Size)
			classes[bits.Len(uint(r.Size))]++
			total += r.Size
			sub := subjects[r.Subject]
			if sub == nil {
				sub = &SubjectInfo{Subject: r.Subject, FirstSeq: r.Seq}
				subjects[r.Subject] = sub
			}
			sub.Messages++
			sub.Bytes += uint64(r.Size)
			sub.LastSeq = r.Seq
		})
		if err != nil {
			return err
		}
		for i, n := range classes {
			if n > 0 {
				x.Sizes = append(x.Sizes, SizeClass{1 << i, n})
			}
		}
		x.NumSubjects = len(subjects)
		for _, sub := range subjects {
			x.Top = append(x.Top, *sub)
		}
		slices.SortFunc(x.Top, func(a, b SubjectInfo) int {
			return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Subject, b.Subject))
		})
		x.Top = x.Top[:min(len(x.Top), topSubjects)]
		s.consumers()
		x.State = s.state
		if x.State.Messages > 0 {
			x.MeanSize = float64(total) / float64(x.State.Messages)
		}
		if d := x.LastTime.Sub(x.FirstTime).Seconds(); d > 0 {
			x.PerSecond = float64(x.State.Messages) / d
		}
		return fn(x)
	})
}

package archive

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/natsd/natsd/msgstore/internal/fixture"
)

func version2(t testing.TB) []byte {
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, err := range []error{
		w.State([]byte(`{"messages":3,"consumer_count":1}`)),
		w.Consumer("C", []byte(`{"config":{}}`)),
		w.Message("consumers/x", -5, 4, nil, nil), // a subject may look like anything
		w.Message("foo.bar", 1700000000000000000, 6, []byte("NATS/1.0\r\n\r\n"), []byte("payload")),
		w.Message("big", 1, 7, nil, bytes.Repeat([]byte("x"), 3<<20)),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func readAll(b []byte) (entries []string, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		if len(e.Data) > 100 {
			e.Data = fmt.Appendf(nil, "%d bytes", len(e.Data))
		}
		entries = append(entries, fmt.Sprintf("%d %s %d %d %q %q", e.Kind, e.Name, e.Time, e.Seq, e.Header, e.Data))
	}
}

func TestVersion2(t *testing.T) {
	got, err := readAll(version2(t))
	want := []string{
		`0 state.json 0 0 "" "{\"messages\":3,\"consumer_count\":1}"`,
		`1 C 0 0 "" "{\"config\":{}}"`,
		`2 consumers/x -5 4 "" ""`,
		`2 foo.bar 1700000000000000000 6 "NATS/1.0\r\n\r\n" "payload"`,
		`2 big 1 7 "" "3145728 bytes"`,
	}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\n%v", strings.Join(got, "\n"), err)
	}
	plain, err := io.ReadAll(s2.NewReader(bytes.NewReader(version2(t))))
	if err != nil || !bytes.HasPrefix(plain, []byte("NATSARC1\x0a\x00\x00\x00\x21state.json{")) || !bytes.HasSuffix(plain, make([]byte, 5)) {
		t.Errorf("layout %q, %v", plain[:40], err)
	}
}

// raw is an archive of hand-made bytes.
func raw(parts ...string) []byte {
	var out bytes.Buffer
	w := s2.NewWriter(&out)
	w.Write([]byte(strings.Join(parts, "")))
	w.Close()
	return out.Bytes()
}

func entry(name string, seq uint64, header, data string) string {
	b := binary.AppendUvarint(nil, uint64(len(name)))
	b = binary.AppendVarint(b, 0)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, uint64(len(header)))
	b = binary.AppendUvarint(b, uint64(len(data)))
	return string(b) + name + header + data
}

func TestVersion2Refused(t *testing.T) {
	state := entry("state.json", 0, "", `{"consumer_count":1}`)
	none := entry("state.json", 0, "", `{}`)
	end := "\x00\x00\x00\x00\x00"
	for name, tc := range map[string]struct {
		b    []byte
		want error
	}{
		"no terminator":         {raw("NATSARC1", none, entry("a", 1, "", "x")), ErrTruncated},
		"cut in an entry":       {raw("NATSARC1", none, entry("a", 1, "", "x")[:5]), ErrTruncated},
		"nothing":               {raw("NATSARC1"), ErrTruncated},
		"only a terminator":     {raw("NATSARC1", end), ErrCorrupt},
		"no state":              {raw("NATSARC1", entry("a", 1, "", "x"), end), ErrCorrupt},
		"state is not JSON":     {raw("NATSARC1", entry("state.json", 0, "", "x"), end), ErrCorrupt},
		"consumer missing":      {raw("NATSARC1", state, end), ErrCorrupt},
		"no consumer":           {raw("NATSARC1", state, entry("a", 1, "", "x"), end), ErrCorrupt},
		"consumer leaves":       {raw("NATSARC1", state, entry("consumers/../x", 0, "", "{}"), end), ErrCorrupt},
		"sequences descend":     {raw("NATSARC1", none, entry("a", 2, "", ""), entry("a", 2, "", ""), end), ErrCorrupt},
		"sequence 0":            {raw("NATSARC1", none, entry("a", 0, "", "x"), end), ErrCorrupt},
		"name without bytes":    {raw("NATSARC1", none, "\x00\x00\x01\x00\x00", end), ErrCorrupt},
		"long name":             {raw("NATSARC1", none, string(binary.AppendUvarint(nil, 1<<20+1)), "\x00\x01\x00\x00"), ErrCorrupt},
		"long body":             {raw("NATSARC1", none, "\x01\x00\x01\x00", string(binary.AppendUvarint(nil, MaxBody+1)), "a"), ErrCorrupt},
		"body over the end":     {raw("NATSARC1", none, "\x01\x00\x01\x00", string(binary.AppendUvarint(nil, MaxBody)), "a"), ErrTruncated},
		"varint too long":       {raw("NATSARC1", none, strings.Repeat("\xff", 11)), ErrCorrupt},
		"damaged S2 stream":     {append(version2(t)[:60:60], 1, 2, 3), ErrCorrupt},
		"not compressed at all": {[]byte("NATSARC1 and so on, long enough for a chunk"), ErrCorrupt},
		"many consumers":        {raw("NATSARC1", entry("state.json", 0, "", `{"consumer_count":99999999}`), end), ErrCorrupt},
	} {
		if _, err := readAll(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := NewWriter(io.Discard).Message(strings.Repeat("x", maxName+1), 0, 1, nil, nil); err == nil {
		t.Error("a name that no reader takes was written")
	}
}

func files(b []byte) (list []string, err error) {
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		f, err := r.NextFile()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		content, err := io.ReadAll(f.Content)
		if err != nil {
			return list, err
		}
		list = append(list, fmt.Sprintf("%s %d %q", f.Name, f.Size, content))
	}
}

func TestVersion1(t *testing.T) {
	var out bytes.Buffer
	w := NewTarWriter(&out)
	now := time.Unix(1700000000, 0)
	for _, name := range []string{"meta.inf", "meta.sum", "msgs/1.blk", "msgs/12.blk", "msgs/index.db", "obs/C/meta.inf", "obs/C/meta.sum", "obs/C/o.dat"} {
		if err := w.File(name, now, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := files(out.Bytes())
	if err != nil || len(got) != 8 || got[3] != `msgs/12.blk 11 "msgs/12.blk"` {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := files(out.Bytes()[:len(out.Bytes())/2]); !errors.Is(err, ErrCorrupt) {
		t.Errorf("half: %v", err)
	}
}

func TestVersion1Refused(t *testing.T) {
	for name, h := range map[string]tar.Header{
		"leaves":     {Name: "../meta.inf", Typeflag: tar.TypeReg},
		"absolute":   {Name: "/etc/passwd", Typeflag: tar.TypeReg},
		"deep":       {Name: "obs/a/b/o.dat", Typeflag: tar.TypeReg},
		"dots":       {Name: "obs/../msgs/../x.blk", Typeflag: tar.TypeReg},
		"link":       {Name: "meta.inf", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"other file": {Name: "msgs/1.key", Typeflag: tar.TypeReg},
		"block 0":    {Name: "msgs/01.blk", Typeflag: tar.TypeReg},
		"errors.txt": {Name: "errors.txt", Typeflag: tar.TypeReg},
		"block":      {Name: "msgs/1.blk", Typeflag: tar.TypeReg, Size: MaxBlock + 1},
		"index":      {Name: "msgs/index.db", Typeflag: tar.TypeReg, Size: MaxIndex + 1},
		"meta":       {Name: "meta.inf", Typeflag: tar.TypeReg, Size: MaxBody + 1},
		"state":      {Name: "obs/C/o.dat", Typeflag: tar.TypeReg, Size: MaxBody + 1},
	} {
		var out bytes.Buffer
		c := s2.NewWriter(&out)
		w := tar.NewWriter(c)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Close()
		c.Close()
		if got, err := files(out.Bytes()); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// A sparse file of an archive claims any size with a few bytes.
func TestVersion1Sparse(t *testing.T) {
	block := func(name string, typeflag byte, content string) string {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000600\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        ", len(content), 1))
		h[156] = typeflag
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return string(h) + content + strings.Repeat("\x00", (512-len(content)%512)%512)
	}
	record := func(key, value string) string {
		for n := len(key) + len(value) + 3; ; n++ {
			if s := fmt.Sprintf("%d %s=%s\n", n, key, value); len(s) == n {
				return s
			}
		}
	}
	pax := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.name", "meta.inf") + record("GNU.sparse.realsize", "1000000")
	sparse := "1\n0\n0\n" + strings.Repeat("\x00", 512-6) // one entry: no data at 0
	if got, err := files(raw(block("PaxHeaders/meta.inf", 'x', pax), block("meta.inf", '0', sparse), strings.Repeat("\x00", 1024))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%d files, %v", len(got), err)
	}
}

func FuzzReader(f *testing.F) {
	b := version2(f)
	f.Add(b[:200])
	f.Add(raw("NATSARC1", entry("state.json", 0, "", `{}`), entry("a", 1, "h", "x"), "\x00\x00\x00\x00\x00"))
	var out bytes.Buffer
	w := NewTarWriter(&out)
	w.File("meta.inf", time.Unix(1, 0), []byte("{}"))
	w.Close()
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err2 := readAll(b)
		_, err1 := files(b)
		if err1 == nil && err2 == nil {
			t.Fatal("both versions at once")
		}
	})
}

// FuzzEntries fuzzes what is inside the S2 stream, which a plain fuzzer rarely
// gets through.
func FuzzEntries(f *testing.F) {
	f.Add([]byte(entry("state.json", 0, "", `{"consumer_count":1}`) + entry("consumers/C", 0, "", "{}") + entry("a", 1, "h", "x") + "\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readAll(raw("NATSARC1", string(b)))
	})
}

// FuzzTar does the same for version 1. Headers get their checksums, which no
// fuzzer finds.
func FuzzTar(f *testing.F) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, pattern := range []string{"meta.inf", "meta.sum", "index.db", "o.dat"} {
		contents, names := fixture.Contents(f, pattern)
		for i := range min(len(contents), 3) {
			_, name, _ := strings.Cut(names[i], "/streams/")
			_, name, _ = strings.Cut(name, "/")
			if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(contents[i])), Mode: 0o600, Typeflag: tar.TypeReg, Format: tar.FormatPAX, ModTime: time.Unix(1, 5)}); err != nil {
				f.Fatal(err)
			}
			w.Write(contents[i])
		}
		f.Add(bytes.Clone(out.Bytes()))
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	const block, sumAt, sumLen, magicAt = 512, 148, 8, 257
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		for at := 0; at+block <= len(b); at += block {
			h := b[at : at+block]
			if string(h[magicAt:magicAt+5]) != "ustar" {
				continue
			}
			copy(h[sumAt:], "        ")
			sum := 0
			for _, c := range h {
				sum += int(c)
			}
			copy(h[sumAt:sumAt+sumLen], fmt.Sprintf("%06o\x00 ", sum))
		}
		_, _ = files(raw(string(b)))
	})
}

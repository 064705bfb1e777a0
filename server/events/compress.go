package events

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"

	"github.com/klauspost/compress/s2"
)

// Values of the header Content-Encoding.
const (
	Snappy   = "snappy" // S2 in snappy's framing
	Gzip     = "gzip"
	Identity = "identity"
)

// Encoding chooses the encoding of a reply from the header Accept-Encoding; empty without one.
func Encoding(accept string) string {
	accept = strings.ToLower(accept)
	switch {
	case accept == "":
		return ""
	case strings.Contains(accept, "snappy"), strings.Contains(accept, "s2"):
		return Snappy
	case strings.Contains(accept, "gzip"):
		return Gzip
	}
	return Identity
}

// Compress encodes b for a header Content-Encoding.
func Compress(encoding string, b []byte) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case Gzip:
		w = gzip.NewWriter(&out)
	case Snappy:
		w = s2.NewWriter(&out, s2.WriterSnappyCompat(), s2.WriterConcurrency(1))
	default:
		return b, nil
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

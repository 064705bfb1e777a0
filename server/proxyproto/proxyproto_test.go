package proxyproto

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// read gives Read its input byte by byte and returns what it leaves.
func read(in string) (src, rest, left string, err error) {
	r := strings.NewReader(in)
	a, b, err := Read(r)
	if a != nil {
		src = a.String()
	}
	l, _ := io.ReadAll(r)
	return src, string(b), string(l), err
}

const v2 = "\r\n\r\n\x00\r\nQUIT\n"

func TestRead(t *testing.T) {
	v4 := "\x0a\x00\x00\x01\x0a\x00\x00\x02\x12\x34\x00\x50"
	v6 := strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 15) + "\x02" + "\x12\x34\x00\x50"
	for _, tt := range []struct{ name, in, src, rest, left, err string }{
		{"none", "CONNECT {}\r\n", "", "CONNEC", "T {}\r\n", ""},
		{"short", "PING", "", "PING", "", ""},
		{"v1", "PROXY TCP4 10.0.0.1 10.0.0.2 4660 80\r\nCONNECT", "10.0.0.1:4660", "", "CONNECT", ""},
		{"v1 IPv6", "PROXY TCP6 ::1 ::2 4660 80\r\n", "[::1]:4660", "", "", ""},
		{"v1 mapped", "PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n", "10.0.0.1:1", "", "", ""},
		{"v1 unknown", "PROXY UNKNOWN whatever it is\r\nX", "", "", "X", ""},
		{"v1 long", "PROXY TCP4 " + strings.Repeat("1", 120) + "\r\n", "", "", "", "v1 line too long"},
		{"v1 families", "PROXY TCP4 ::1 ::2 1 2\r\n", "", "", "", "TCP4 with IPv6 address"},
		{"v1 families", "PROXY TCP6 10.0.0.1 10.0.0.2 1 2\r\n", "", "", "", "TCP6 with IPv4 address"},
		{"v1 protocol", "PROXY UDP4 10.0.0.1 10.0.0.2 1 2\r\n", "", "", "", "invalid protocol UDP4"},
		{"v1 fields", "PROXY TCP4 10.0.0.1 10.0.0.2 1\r\n", "", "", "", "expected 5 fields"},
		{"v1 port", "PROXY TCP4 10.0.0.1 10.0.0.2 70000 1\r\n", "", "", "", "invalid port"},
		{"v1 cut", "PROXY TCP4 10.0", "", "", "", "EOF"},
		{"v2", v2 + "\x21\x11\x00\x0c" + v4 + "X", "10.0.0.1:4660", "", "X", ""},
		{"v2 with more", v2 + "\x21\x11\x00\x0e" + v4 + "zzX", "10.0.0.1:4660", "", "X", ""},
		{"v2 IPv6", v2 + "\x21\x21\x00\x24" + v6, "[::1]:4660", "", "", ""},
		{"v2 local", v2 + "\x20\x00\x00\x02zzX", "", "", "X", ""},
		{"v2 unspec", v2 + "\x21\x00\x00\x02zzX", "", "", "X", ""},
		{"v2 datagram", v2 + "\x21\x12\x00\x0c" + v4, "", "", "", "only STREAM protocol supported"},
		{"v2 unix", v2 + "\x21\x31\x00\x0c" + v4, "", "", "", "unsupported address family 0x30"},
		{"v2 short", v2 + "\x21\x11\x00\x04\x01\x02\x03\x04", "", "", "", "IPv4 address data too short: 4 bytes"},
		{"v2 command", v2 + "\x22\x11\x00\x0c" + v4, "", "", "", "unknown PROXY protocol command: 0x02"},
		{"v2 version", v2 + "\x11\x11\x00\x0c" + v4, "", "", "", "invalid version 1"},
		{"v2 signature", "\r\n\r\n\x00\r\nQUIX\n" + "\x21\x11\x00\x0c" + v4, "", "", "", "bad v2 signature"},
	} {
		src, rest, left, err := read(tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %s", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || src != tt.src || rest != tt.rest || left != tt.left {
			t.Errorf("%s: %q %q %q %v", tt.name, src, rest, left, err)
		}
	}
}

// FuzzRead: no input does harm, and without a header nothing is lost.
func FuzzRead(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 4660 80\r\nPING\r\n"))
	f.Add([]byte(v2 + "\x21\x11\x00\x0c0123456789ab"))
	f.Add([]byte("CONNECT {}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		src, rest, err := Read(r)
		if err == nil && src == nil && rest != nil && !bytes.HasPrefix(in, rest) {
			t.Errorf("%q came back as %q", in, rest)
		}
	})
}

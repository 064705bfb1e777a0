// Package proxyproto reads PROXY protocol headers, versions 1 and 2, as load
// balancers send them in front of a connection
// (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// maxV1 is the longest header of version 1, with CR LF.
	maxV1 = 107
	// sniff is how many bytes tell what it is.
	sniff = 6
)

var (
	v1Prefix    = []byte("PROXY ")
	v2Signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

	errInvalid     = errors.New("invalid PROXY protocol header")
	errUnsupported = errors.New("unsupported PROXY protocol feature")
)

// Read reads a header from the beginning of r. src is the address of the client,
// nil if the connection's own counts. If there is no header, rest are the bytes
// that were read to find out.
func Read(r io.Reader) (src net.Addr, rest []byte, err error) {
	head := make([]byte, sniff, maxV1)
	n, err := io.ReadFull(r, head)
	if err != nil {
		if n > 0 && (err == io.ErrUnexpectedEOF) {
			return nil, head[:n], nil
		}
		return nil, nil, err
	}
	switch {
	case bytes.Equal(head, v1Prefix):
		src, err = readV1(r, head)
		return src, nil, err
	case bytes.Equal(head, v2Signature[:sniff]):
		src, err = readV2(r, head)
		return src, nil, err
	}
	return nil, head, nil
}

func readV1(r io.Reader, line []byte) (net.Addr, error) {
	// Byte by byte: what follows the line is not ours.
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxV1 {
			return nil, fmt.Errorf("%w: v1 line too long", errInvalid)
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return nil, err
		}
	}
	return ParseV1(string(line[len(v1Prefix) : len(line)-2]))
}

// ParseV1 reads the text between "PROXY " and the line end.
func ParseV1(s string) (net.Addr, error) {
	f := strings.Fields(s)
	if len(f) == 0 {
		return nil, fmt.Errorf("%w: no protocol", errInvalid)
	}
	if f[0] == "UNKNOWN" {
		return nil, nil
	}
	if len(f) != 5 {
		return nil, fmt.Errorf("%w: expected 5 fields, got %d", errInvalid, len(f))
	}
	if f[0] != "TCP4" && f[0] != "TCP6" {
		return nil, fmt.Errorf("%w: invalid protocol %s", errInvalid, f[0])
	}
	var ips [2]netip.Addr
	for i, text := range f[1:3] {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return nil, fmt.Errorf("%w: invalid address %q", errInvalid, text)
		}
		switch colon := strings.Contains(text, ":"); {
		case f[0] == "TCP4" && colon:
			return nil, fmt.Errorf("%w: TCP4 with IPv6 address", errInvalid)
		case f[0] == "TCP6" && !colon:
			return nil, fmt.Errorf("%w: TCP6 with IPv4 address", errInvalid)
		}
		ips[i] = ip
	}
	var ports [2]uint64
	for i, text := range f[3:] {
		p, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%w: invalid port %q", errInvalid, text)
		}
		ports[i] = p
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ips[0], uint16(ports[0]))), nil
}

func readV2(r io.Reader, head []byte) (net.Addr, error) {
	var fixed [16]byte
	copy(fixed[:], head)
	if _, err := io.ReadFull(r, fixed[len(head):]); err != nil {
		return nil, err
	}
	if !bytes.Equal(fixed[:12], v2Signature) {
		return nil, fmt.Errorf("%w: bad v2 signature", errInvalid)
	}
	data := make([]byte, binary.BigEndian.Uint16(fixed[14:])) // at most 64 KiB
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return ParseV2(fixed[12], fixed[13], data)
}

// ParseV2 reads a header of version 2: the byte with version and command, the
// one with family and transport, and the data.
func ParseV2(command, family byte, data []byte) (net.Addr, error) {
	if v := command >> 4; v != 2 {
		return nil, fmt.Errorf("%w: invalid version %d", errInvalid, v)
	}
	switch cmd := command & 0xF; cmd {
	case 0:
		return nil, nil // LOCAL: the balancer itself
	case 1:
	default:
		return nil, fmt.Errorf("unknown PROXY protocol command: 0x%02x", cmd)
	}
	const (
		unspec = 0x00
		inet   = 0x10
		inet6  = 0x20
		stream = 0x01
	)
	if family&0xF0 == unspec {
		return nil, nil
	}
	if family&0x0F != stream {
		return nil, fmt.Errorf("%w: only STREAM protocol supported", errUnsupported)
	}
	switch family & 0xF0 {
	case inet:
		if len(data) < 12 {
			return nil, fmt.Errorf("%w: IPv4 address data too short: %d bytes", errInvalid, len(data))
		}
		return &net.TCPAddr{IP: net.IP(bytes.Clone(data[:4])), Port: int(binary.BigEndian.Uint16(data[8:]))}, nil
	case inet6:
		if len(data) < 36 {
			return nil, fmt.Errorf("%w: IPv6 address data too short: %d bytes", errInvalid, len(data))
		}
		return &net.TCPAddr{IP: net.IP(bytes.Clone(data[:16])), Port: int(binary.BigEndian.Uint16(data[32:]))}, nil
	}
	return nil, fmt.Errorf("%w: unsupported address family 0x%02x", errUnsupported, family&0xF0)
}

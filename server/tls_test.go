package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testCA issues certificates for the loopback interface, in files of dir.
type testCA struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
	next atomic.Int64
	// responder stands in the certificates; empty: none.
	responder string
}

func newTestCA(t testing.TB) *testCA {
	ca := &testCA{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	ca.cert, ca.key = ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	ca.pool.AddCert(ca.cert)
	ca.write("ca.pem", "CERTIFICATE", ca.cert.Raw)
	return ca
}

func (ca *testCA) issue(c *x509.Certificate) (*x509.Certificate, crypto.Signer) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(ca.next.Add(1))
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, crypto.Signer(key)
	if ca.cert != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key
}

func (ca *testCA) path(name string) string { return filepath.Join(ca.dir, name) }

func (ca *testCA) write(name, kind string, der []byte) {
	ca.t.Helper()
	if err := os.WriteFile(ca.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		ca.t.Fatal(err)
	}
}

// pair writes NAME.pem and NAME.key, another certificate each time.
func (ca *testCA) pair(name string) tls.Certificate {
	ca.t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if ca.responder != "" {
		c.OCSPServer = []string{ca.responder}
	}
	cert, key := ca.issue(c)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.write(name+".pem", "CERTIFICATE", cert.Raw)
	ca.write(name+".key", "PRIVATE KEY", der)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// block is a tls block of the server's certificate, with more options.
func (ca *testCA) block(more string) string {
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, %s }\n", ca.path("server.pem"), ca.path("server.key"), ca.path("ca.pem"), more)
}

// dialTLS makes a handshake as the protocol wants it: behind INFO.
func dialTLS(t testing.TB, s *Server, c *tls.Config) *tls.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	for b := []byte{0}; b[0] != '\n'; {
		if _, err := nc.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	c.ServerName = "127.0.0.1"
	conn := tls.Client(nc, c)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestProxyHeaderAndTLSFirst: INFO comes in clear to whoever does not begin a
// handshake in time, before or behind a PROXY header, and inside of TLS to others.
func TestProxyHeaderAndTLSFirst(t *testing.T) {
	ca := newTestCA(t)
	ca.pair("server")
	const header = "PROXY TCP4 192.0.2.1 192.0.2.2 4000 4222\r\n"
	for _, tt := range []struct {
		name, fallback string
		before, behind string // what is sent before and behind INFO
		inside         bool   // INFO comes inside of TLS
	}{
		{"silent", "20ms", "", header, false},
		{"silent, without a header", "20ms", "", "", false},
		{"header, then silent", "20ms", header, "", false},
		{"header and handshake", "1m", header, "", true},
		{"handshake without a header", "1m", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startConf(t, "proxy_protocol: true\n"+ca.block(fmt.Sprintf("timeout: 20, handshake_first: %q", tt.fallback)))
			nc, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(patience))
			readLine := func(r io.Reader) string {
				var line []byte
				for b := []byte{0}; b[0] != '\n'; line = append(line, b...) {
					if _, err := r.Read(b); err != nil {
						t.Fatal(err)
					}
				}
				return string(line)
			}
			io.WriteString(nc, tt.before)
			if !tt.inside {
				if got := readLine(nc); !strings.HasPrefix(got, "INFO ") {
					t.Fatalf("got %q, want INFO", got)
				}
			}
			io.WriteString(nc, tt.behind)
			conn := tls.Client(nc, &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"})
			if tt.inside {
				if got := readLine(conn); !strings.HasPrefix(got, "INFO ") {
					t.Fatalf("got %q, want INFO", got)
				}
			}
			io.WriteString(conn, "CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n")
			ip := `"client_ip":"127.0.0.1"`
			if tt.before+tt.behind != "" {
				ip = `"client_ip":"192.0.2.1"`
			}
			if pong, info := readLine(conn), readLine(conn); pong != "PONG\r\n" || !strings.Contains(info, ip) {
				t.Errorf("got %q and %q, want PONG and %s", pong, info, ip)
			}
		})
	}
}

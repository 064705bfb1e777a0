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
	"math/big"
	"net"
	"os"
	"path/filepath"
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

package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
)

// taker counts the turns that are held while somebody writes to it.
type taker struct {
	net.Conn
	held *int
}

func (c taker) Write(b []byte) (int, error) {
	*c.held += len(handshakeTurns)
	return c.Conn.Write(b)
}

// TestHandshakeTurns: a turn is held while the server works on its answer, and
// never while it waits for the client, to send or to take something.
func TestHandshakeTurns(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		near, far := net.Pipe()
		chosen, verified, held := false, false, 0
		below := &handshaking{Conn: taker{near, &held}}
		s := tls.Server(below, &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				chosen = below.turn && len(handshakeTurns) == 1
				return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
			},
			ClientAuth: tls.RequestClientCert,
			VerifyConnection: func(tls.ConnectionState) error {
				verified = !below.turn
				return nil
			},
		})
		c := tls.Client(far, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		done := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, "PING")
			done <- err
		}()
		if err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		below.rest()
		got := make([]byte, 4)
		if _, err := io.ReadFull(s, got); err != nil || string(got) != "PING" {
			t.Errorf("%q, %v", got, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if !chosen || !verified || held != 0 || len(handshakeTurns) != 0 {
			t.Errorf("version %x: turn for the answer %v, none for the client's certificate %v, %d held in writes, %d afterwards", version, chosen, verified, held, len(handshakeTurns))
		}
		near.Close()
		far.Close()
	}
	// Half a ClientHello, part of it read before.
	near, far := net.Pipe()
	below := &handshaking{Conn: near, head: []byte{22, 3}}
	failed := make(chan error, 1)
	go func() {
		err := tls.Server(below, &tls.Config{}).Handshake()
		below.rest()
		failed <- err
	}()
	far.Write([]byte{1, 0})
	far.Close()
	if err := <-failed; err == nil || len(handshakeTurns) != 0 {
		t.Errorf("%v, %d turns held", err, len(handshakeTurns))
	}
}

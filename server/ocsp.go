package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"reflect"
	"sync/atomic"

	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/server/ocsp"
	"github.com/natsd/natsd/server/options"
)

// revocation is what the server knows of certificates that were revoked: of its own, and of those of peers.
type revocation struct {
	ctx     context.Context // ends with the server
	end     context.CancelFunc
	http    *http.Client
	staples atomic.Pointer[ocsp.Staples] // nil before the start
	cache   atomic.Pointer[ocsp.Cache]   // nil: no peer is judged
}

func newRevocation() *revocation {
	// Questions are rare, so no connection is kept.
	r := &revocation{http: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}}
	r.ctx, r.end = context.WithCancel(context.Background())
	return r
}

// checkOCSP refuses what cannot be judged.
func checkOCSP(o *options.Options) error {
	for _, t := range []*options.TLS{o.TLS, o.LeafNodes.TLS, o.WebSocket.TLS, o.MQTT.TLS} {
		if t.AsksOCSP() && !t.Verify && !t.VerifyAndMap {
			return errors.New("OCSP peer verification for client connections requires TLS verify (mTLS) to be enabled")
		}
	}
	return nil
}

// startOCSP gets the answers about the server's own certificates and opens the cache of those about peers.
func (s *Server) startOCSP(o *options.Options) error {
	staples, err := s.planOCSP(o)
	if err != nil {
		return err
	}
	s.revocation.staples.Store(staples)
	staples.Run()
	if o.AsksOCSP() {
		s.revocation.cache.Store(ocsp.OpenCache(o.OCSPCache, (*ocspHost)(s)))
	}
	return nil
}

// planOCSP gets the answers about the certificates of o; those that hold stay.
func (s *Server) planOCSP(o *options.Options) (*ocsp.Staples, error) {
	if err := checkOCSP(o); err != nil {
		return nil, err
	}
	return ocsp.NewStaples(s.revocation.ctx, o.OCSP, o.ListenerTLS(), o.JetStream.StoreDir, s.revocation.http, (*ocspHost)(s), s.revocation.staples.Load())
}

// applyOCSP makes new answers count, and replaces the cache if it is to be another one. Without new answers the present
// ones stay.
func (s *Server) applyOCSP(staples *ocsp.Staples, old, o *options.Options) {
	if staples != nil {
		before := s.revocation.staples.Swap(staples)
		staples.Run()
		before.Stop()
	}
	cache := s.revocation.cache.Load()
	if (cache != nil) == o.AsksOCSP() && reflect.DeepEqual(old.OCSPCache, o.OCSPCache) {
		return
	}
	if cache != nil {
		cache.Stop()
		cache = nil
	}
	if o.AsksOCSP() {
		cache = ocsp.OpenCache(o.OCSPCache, (*ocspHost)(s))
	}
	s.revocation.cache.Store(cache)
}

// stopOCSP ends it, after a reload that is under way.
func (s *Server) stopOCSP() {
	s.revocation.end()
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if staples := s.revocation.staples.Load(); staples != nil {
		staples.Stop()
	}
	if cache := s.revocation.cache.Load(); cache != nil {
		cache.Stop()
	}
}

// ocspClient is the kind of client connections in OCSP events.
const ocspClient = "Client"

// serverTLS is the configuration for one handshake of a listener: with what is stapled to the certificates, and the checks
// of the client's one.
func (s *Server) serverTLS(t *options.TLS, kind string) *tls.Config {
	c := t.Config.Clone()
	c.Certificates = s.revocation.staples.Load().Certificates(c.Certificates)
	if len(t.PinnedCerts) == 0 && !t.AsksOCSP() {
		return c
	}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if !Pinned(t, &cs) {
			return errors.New("certificate not pinned")
		}
		if !t.AsksOCSP() {
			return nil
		}
		cache := s.revocation.cache.Load()
		if cache == nil { // a reload has just asked for the first time
			cache = ocsp.OpenCache(&options.OCSPCache{Type: "none"}, (*ocspHost)(s))
		}
		v := ocsp.Verifier{Cache: cache, HTTP: s.revocation.http, Host: (*ocspHost)(s)}
		return v.Check(s.revocation.ctx, t.OCSPPeer, &ocsp.Peer{Chains: cs.VerifiedChains, Kind: kind, Refusal: ocsp.ErrClient})
	}
	return c
}

// OCSPPeerCache implements monitor.Source.
func (m *monitored) OCSPPeerCache() *monitor.OCSPCacheVarz {
	cache := m.revocation.cache.Load()
	if cache == nil {
		return nil
	}
	n := cache.Stats()
	return &monitor.OCSPCacheVarz{
		Type: n.Type, Hits: n.Hits, Misses: n.Misses, Cached: n.Good + n.Revoked + n.Unknown,
		Revoked: n.Revoked, Good: n.Good, Unknown: n.Unknown,
	}
}

// ocspHost is the server as package ocsp sees it.
type ocspHost Server

func (h *ocspHost) Noticef(format string, v ...any) { h.log.Noticef(format, v...) }
func (h *ocspHost) Warnf(format string, v ...any)   { h.log.Warnf(format, v...) }
func (h *ocspHost) Errorf(format string, v ...any)  { h.log.Errorf(format, v...) }
func (h *ocspHost) Debugf(format string, v ...any)  { h.log.Debugf(format, v...) }
func (h *ocspHost) Go(f func())                     { h.tasks.start(f) }

func (h *ocspHost) LinkInvalid(link, peer *x509.Certificate, reason string) {
	if h.events != nil {
		h.events.OCSPLinkInvalid(link, peer, reason)
	}
}

func (h *ocspHost) Rejected(kind string, peer *x509.Certificate, reason string) {
	if h.events != nil {
		h.events.OCSPRejected(kind, peer, reason)
	}
}

func (h *ocspHost) Revoked(string) { go (*Server)(h).Shutdown() }

package options

import (
	"fmt"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

var ocspTable = func() *table[OCSP] {
	t := newTable("ocsp",
		custom("mode", "string", func(_ *reader, e *conf.Entry, o *OCSP) error {
			s, err := asString(e.Value)
			if err != nil {
				return err
			}
			switch strings.ToLower(s) {
			case "auto":
				o.Mode = OCSPAuto
			case "always":
				o.Mode = OCSPAlways
			case "must":
				o.Mode = OCSPMust
			case "never":
				o.Mode = OCSPNever
			default:
				return errorText("error parsing ocsp config: unsupported ocsp mode string")
			}
			return nil
		}).doc("`auto` staples to certificates that ask for it, `always` to all, `must` as `auto`, and neither goes on with one that is revoked, `never`").def(`"auto"`),
		custom("url", "string", func(_ *reader, e *conf.Entry, o *OCSP) error {
			s, err := asString(e.Value)
			o.URLs = []string{s}
			return err
		}).doc("responder"),
		custom("urls", "list", func(_ *reader, e *conf.Entry, o *OCSP) error {
			if err := asArray(e.Value); err != nil {
				return err
			}
			urls, err := asStrings(e.Value, "ocsp config")
			o.URLs = urls
			return err
		}).doc("responders"),
	)
	t.unknown = "error parsing ocsp config: unsupported field string%.0s"
	t.strict = true
	t.single = true
	t.atBlock = true
	t.caseSensitive = true
	return t
}()

func readOCSP(r *reader, e *conf.Entry, o *Options) error {
	c := &OCSP{}
	switch e.Value.Kind {
	case conf.Bool:
		if !e.Value.Bool {
			c.Mode = OCSPNever
		}
	case conf.Map:
		ocspTable.read(r, e, c)
	default:
		return fmt.Errorf("error parsing ocsp config: unsupported type %s", e.Value.Kind)
	}
	o.OCSP = c
	return nil
}

var ocspCacheTable = func() *table[OCSPCache] {
	t := newTable("ocsp_cache",
		custom("type", "string", func(_ *reader, e *conf.Entry, c *OCSPCache) error {
			s, err := asString(e.Value)
			if err != nil {
				return err
			}
			switch s = strings.ToLower(s); s {
			case "local", "none":
				c.Type = s
				return nil
			}
			return fmt.Errorf("error parsing OCSP peer cache config, unknown type [%s]", e.Value.Str)
		}).doc("`local` keeps answers in a file, `none` forgets them").def(`"local"`),
		str("local_store", func(c *OCSPCache) *string { return &c.LocalStore }).doc("directory of the file"),
		boolean("preserve_revoked", func(c *OCSPCache) *bool { return &c.PreserveRevoked }).doc("keep answers about revoked certificates"),
		custom("save_interval", "seconds or duration", func(_ *reader, e *conf.Entry, c *OCSPCache) error {
			d, err := asTimeout(e.Value)
			if err != nil {
				return fmt.Errorf("error parsing OCSP peer cache config, conversion error: %w", err)
			}
			c.SaveInterval = max(d, minOCSPSaveInterval)
			return nil
		}).doc("time between writes of the file").limits("1s..").def("5m"),
	)
	t.unknown = "error parsing OCSP peer cache config, unknown field [%q]"
	t.strict = true
	return t
}()

// DefaultOCSPCache is the cache of a server that has OCSP peers and no block of that name.
func DefaultOCSPCache() OCSPCache {
	return OCSPCache{Type: "local", LocalStore: defaultOCSPLocalStore, SaveInterval: defaultOCSPSaveInterval}
}

func readOCSPCache(r *reader, e *conf.Entry, o *Options) error {
	d := DefaultOCSPCache()
	c := &d
	switch e.Value.Kind {
	case conf.Bool:
		if !e.Value.Bool {
			c.Type = "none"
		}
	case conf.Map:
		ocspCacheTable.read(r, e, c)
	default:
		return fmt.Errorf("error parsing OCSP peer cache config: unsupported type %s", e.Value.Kind)
	}
	o.OCSPCache = c
	return nil
}

// peerTimeout reads a time of ocsp_peer.
func peerTimeout(name string, at func(*OCSPPeer) *time.Duration) *row[OCSPPeer] {
	r := custom(name, "seconds or duration", func(_ *reader, e *conf.Entry, c *OCSPPeer) error {
		d, err := asTimeout(e.Value)
		if err != nil {
			return fmt.Errorf("error parsing tls peer config, conversion error: %w", err)
		}
		*at(c) = d
		return nil
	})
	r.get = func(c *OCSPPeer) any { return *at(c) }
	return r
}

// peerSwitch reads a boolean of ocsp_peer.
func peerSwitch(name string, at func(*OCSPPeer) *bool) *row[OCSPPeer] {
	r := custom(name, "boolean", func(_ *reader, e *conf.Entry, c *OCSPPeer) error {
		if e.Value.Kind != conf.Bool {
			return fmt.Errorf("error parsing tls peer config, unknown field [%q]", e.Key)
		}
		*at(c) = e.Value.Bool
		return nil
	})
	r.get = func(c *OCSPPeer) any { return *at(c) }
	return r
}

var ocspPeerTable = func() *table[OCSPPeer] {
	t := newTable("ocsp_peer",
		peerSwitch("verify", func(c *OCSPPeer) *bool { return &c.Verify }).doc("ask"),
		peerTimeout("ca_timeout", func(c *OCSPPeer) *time.Duration { return &c.CATimeout }).doc("time for an answer").def("2s"),
		peerTimeout("allowed_clockskew", func(c *OCSPPeer) *time.Duration { return &c.AllowedClockSkew }).doc("difference of clocks that is tolerated").def("30s"),
		peerSwitch("warn_only", func(c *OCSPPeer) *bool { return &c.WarnOnly }).doc("log, and accept"),
		peerSwitch("unknown_is_good", func(c *OCSPPeer) *bool { return &c.UnknownIsGood }).doc("accept what the authority does not know"),
		peerSwitch("allow_when_ca_unreachable", func(c *OCSPPeer) *bool { return &c.AllowWhenCAUnreachable }).doc("accept when nobody answers"),
		peerTimeout("cache_ttl_when_next_update_unset", func(c *OCSPPeer) *time.Duration { return &c.CacheTTLWhenNextUpdateUnset }).doc("how long an answer without an end is good").def("1h"),
	)
	t.unknown = "error parsing tls peer config, unknown field [%q]"
	t.strict = true
	return t
}()

func readOCSPPeer(r *reader, e *conf.Entry, t *tlsBlock) error {
	c := &OCSPPeer{CATimeout: defaultOCSPCATimeout, AllowedClockSkew: defaultOCSPClockSkew, CacheTTLWhenNextUpdateUnset: defaultOCSPCacheTTL}
	switch e.Value.Kind {
	case conf.Bool:
		c.Verify = e.Value.Bool
	case conf.Map:
		// An error names the block and then the key.
		inner := &reader{}
		ocspPeerTable.read(inner, e, c)
		for _, text := range inner.errors {
			r.add(e.Pos, errorText(text))
		}
	default:
		return fmt.Errorf("error parsing tls peer config, conversion error: unsupported type %s", e.Value.Kind)
	}
	t.OCSPPeer = c
	return nil
}

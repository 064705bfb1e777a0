package options

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/conf"
)

// Defaults of directory resolvers.
const (
	defaultResolverInterval = time.Minute
	defaultResolverTimeout  = 1900 * time.Millisecond
	defaultResolverLimit    = 1000 // of a cache
)

func readOperators(_ *reader, e *conf.Entry, o *Options) error {
	list, err := asStrings(e.Value, "operators")
	if err != nil {
		return err
	}
	o.Operators = nil
	for _, s := range list {
		op := Operator{JWT: s}
		if !strings.HasPrefix(s, "eyJ") {
			text, err := os.ReadFile(s)
			if err != nil {
				return fmt.Errorf("error parsing operator JWT: %w", err)
			}
			if op.JWT, err = jwt.ParseDecoratedJWT(text); err != nil {
				return fmt.Errorf("error parsing operator JWT: %w", err)
			}
			op.File = s
		}
		if op.Claims, err = jwt.DecodeOperatorClaims(op.JWT); err != nil {
			return fmt.Errorf("error parsing operator JWT: %w", err)
		}
		o.Operators = append(o.Operators, op)
	}
	return nil
}

// readTrustedKeys reports all that are no keys, at the last one of a list.
func readTrustedKeys(r *reader, e *conf.Entry, o *Options) error {
	list, err := asStrings(e.Value, "trusted")
	if err != nil {
		return err
	}
	pos := e.Pos
	if n := len(e.Value.Elems); n > 0 {
		pos = e.Value.Elems[n-1].Pos
	}
	for _, k := range list {
		if !nkeys.IsValidPublicOperatorKey(k) {
			r.errorf(pos, "trust key %q required to be a valid public operator nkey", k)
		}
	}
	o.TrustedKeys = list
	return nil
}

func readPreload(r *reader, e *conf.Entry, o *Options) error {
	if e.Value.Kind != conf.Map {
		return errorText("preload should be a map of account_public_key:account_jwt")
	}
	o.ResolverPreload = make(map[string]string, len(e.Value.Items))
	for _, p := range e.Value.Items {
		if p.Value.Kind != conf.String {
			r.errorf(p.Pos, "preload map value should be a string JWT")
			continue
		}
		if _, err := jwt.DecodeAccountClaims(p.Value.Str); err != nil {
			r.errorf(p.Pos, "invalid account JWT")
			continue
		}
		o.ResolverPreload[p.Key] = p.Value.Str
	}
	return nil
}

// resolverBlock is a resolver while it is read.
type resolverBlock struct {
	Resolver
	sync, limit bool
	pos         conf.Pos
}

// resolverTime reads a time of the resolver.
func resolverTime(name string, at func(*resolverBlock) *time.Duration) *row[resolverBlock] {
	return custom(name, "duration text", func(_ *reader, e *conf.Entry, r *resolverBlock) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if *at(r), err = time.ParseDuration(s); err != nil {
			return placed{err, r.pos}
		}
		return nil
	})
}

var resolverTable = func() *table[resolverBlock] {
	t := newTable("resolver",
		custom("type", "string", func(_ *reader, e *conf.Entry, r *resolverBlock) error {
			s, err := asString(e.Value)
			r.Type = strings.ToLower(s)
			return err
		}).doc("`full` keeps all accounts, `cache` those in use, `mem` those of `resolver_preload`"),
		str("dir", func(r *resolverBlock) *string { return &r.Dir }).doc("directory of the JWTs"),
		boolean("allow_delete", func(r *resolverBlock) *bool { return &r.AllowDelete }).doc("accounts may be deleted (full)"),
		boolean("hard_delete", func(r *resolverBlock) *bool { return &r.HardDelete }).doc("and their files with them (full)"),
		resolverTime("interval", func(r *resolverBlock) *time.Duration { r.sync = true; return &r.Interval }).doc("time between synchronisations (full)").def("1m"),
		resolverTime("ttl", func(r *resolverBlock) *time.Duration { return &r.TTL }).doc("time an account is kept (cache)"),
		custom("limit", "integer", func(_ *reader, e *conf.Entry, r *resolverBlock) error {
			n, err := asInt(e.Value)
			r.Limit, r.limit = n, true
			return err
		}).doc("accounts").def("unlimited (full), 1000 (cache)"),
		resolverTime("timeout", func(r *resolverBlock) *time.Duration { return &r.Timeout }).doc("time for an answer of other servers").def("1.9s"),
	)
	t.lax = true
	t.caseSensitive = true
	return t
}()

const errResolver = errorText(`error parsing account resolver, should be MEM or  URL("url") or a map containing dir and type state=[FULL|CACHE])`)

// resolverURL finds the URL of a resolver.
var resolverURL = regexp.MustCompile(`(?i)^\s*URL\(\s*["']?([^"')\s]*)["']?\s*\)`)

func readResolver(r *reader, e *conf.Entry, o *Options) error {
	switch v := e.Value; v.Kind {
	case conf.String:
		switch m := resolverURL.FindStringSubmatch(v.Str); {
		case m != nil:
			if _, err := url.Parse(m[1]); err != nil {
				return fmt.Errorf("error parsing account resolver url [%q]", redactURL(m[1]))
			}
			o.Resolver = &Resolver{Type: "url", URL: m[1], Timeout: defaultResolverTimeout}
		case strings.Contains(strings.ToUpper(v.Str), "MEM"):
			o.Resolver = &Resolver{Type: "mem", Timeout: defaultResolverTimeout}
		default:
			return errResolver
		}
		return nil
	case conf.Map:
		b := &resolverBlock{Resolver: Resolver{Interval: defaultResolverInterval, Timeout: defaultResolverTimeout}, pos: e.Pos}
		before := len(r.errors)
		resolverTable.read(r, e, b)
		if len(r.errors) > before {
			return nil
		}
		if err := b.check(); err != nil {
			return err
		}
		o.Resolver = &b.Resolver
		return nil
	}
	return fmt.Errorf("error parsing operator resolver, wrong type %s", e.Value.Kind)
}

// check completes a resolver; it makes the directory of one that has it.
func (b *resolverBlock) check() error {
	if b.Type == "mem" || b.Type == "memory" {
		b.Type = "mem"
		return nil
	}
	if b.Dir == "" {
		return errorText("dir has no value and needs to point to a directory")
	}
	if b.Type != "full" && b.Type != "cache" {
		return errResolver
	}
	if err := usableDirectory(b.Dir); err != nil {
		return err
	}
	switch {
	case b.Type == "cache" && b.sync:
		return errorText("CACHE does not accept sync")
	case b.Type == "cache" && b.AllowDelete:
		return errorText("CACHE does not accept allow_delete")
	case b.Type == "cache" && b.HardDelete:
		return errorText("CACHE does not accept hard_delete")
	case b.Type == "full" && b.TTL != 0:
		return errorText("FULL does not accept ttl")
	case b.HardDelete && !b.AllowDelete:
		return errorText("hard_delete has no effect without delete")
	case b.Timeout <= 0:
		return fmt.Errorf("Fetch timeout %v is too smal", b.Timeout) // the text of the reference
	}
	if b.Type == "cache" {
		b.Interval = 0
		if !b.limit {
			b.Limit = defaultResolverLimit
		}
	}
	return nil
}

// usableDirectory makes a directory if it is not there.
func usableDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return errDirectory
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() || info.Mode()&0o200 == 0 {
		return errDirectory
	}
	return nil
}

const errDirectory = errorText("dir needs to point to an accessible directory")

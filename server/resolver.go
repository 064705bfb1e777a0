package server

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"time"

	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
)

// openResolver makes the resolver of options, nil if they have none. Preloads are in it.
func openResolver(o *options.Options) (operator.Resolver, error) {
	r := o.Resolver
	switch {
	case r == nil:
		return nil, nil
	case r.Type == "mem":
		return operator.NewMemory(o.ResolverPreload), nil
	case r.Type == "url":
		tr := http.DefaultTransport.(*http.Transport).Clone()
		if o.ResolverTLS != nil {
			tr.TLSClientConfig = o.ResolverTLS.Config
		}
		ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
		defer cancel()
		return operator.NewURL(ctx, r.URL, &http.Client{Transport: tr})
	}
	d, err := operator.OpenDir(*r)
	if err != nil {
		return nil, err
	}
	for key, token := range o.ResolverPreload {
		if err := d.Store(key, token); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// planResolver opens the resolver of new options if it is another one than before; nil if it is not.
func (m *operatorMode) planResolver(old, o *options.Options) (operator.Resolver, error) {
	if o.Resolver == nil || reflect.DeepEqual(old.Resolver, o.Resolver) && maps.Equal(old.ResolverPreload, o.ResolverPreload) &&
		o.Resolver.Type != "mem" && o.ResolverTLS == nil && old.ResolverTLS == nil {
		return nil, nil
	}
	return openResolver(o)
}

// reload looks at the claims of all accounts in use again, in another resolver if that is not nil: at those of changed
// preloads, or at files that changed.
func (m *operatorMode) reload(o *options.Options, resolver operator.Resolver) {
	m.mu.Lock()
	m.pinned = pinnedAccounts(o)
	if resolver != nil {
		m.resolver = resolver
	}
	var keys []string
	for key := range m.loaded {
		keys = append(keys, key)
	}
	m.mu.Unlock()
	if resolver != nil && m.claims != nil {
		if err := m.claims.subscribe(); err != nil {
			m.s.log.Errorf("Reload: %v", err)
		}
	}
	dir := m.directory()
	switch {
	case dir != nil:
		changed, err := dir.Rescan()
		if err != nil {
			m.s.log.Errorf("Reload: %v", err)
		}
		if resolver == nil {
			keys = changed
		}
	case resolver == nil:
		return // a URL: accounts are asked for when their claims end
	}
	for _, key := range keys {
		token, err := m.fetchOwn(key)
		switch {
		case err == nil:
			if m.apply(key, token) != nil {
				m.remove(key, "bad claims")
			}
		case errors.Is(err, operator.ErrNoAccount) && dir == nil:
			m.remove(key, "removed")
		case dir == nil:
			m.s.log.Errorf("Reload: account %q: %v", key, err)
		}
	}
}

// remove ends an account that a reload found no claims for; the temporary system account never had any.
func (m *operatorMode) remove(key, why string) {
	m.mu.Lock()
	l := m.loaded[key]
	gone := l == nil || l.deleted || l.claims.JWT == ""
	m.mu.Unlock()
	if !gone {
		m.s.log.Noticef("Reloaded: deleting account [%s]: %q", why, key)
		m.disable(key)
	}
}

// accounts is the resolver.
func (m *operatorMode) accounts() operator.Resolver {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.resolver
}

// directory is the resolver if it is a directory, else nil.
func (m *operatorMode) directory() *operator.Dir {
	d, _ := m.accounts().(*operator.Dir)
	return d
}

// defaultFetchTimeout bounds a question to a resolver that has no time of its own.
const defaultFetchTimeout = 2 * time.Second

func (m *operatorMode) fetchTimeout() time.Duration {
	if r := m.s.Options().Resolver; r != nil && r.Timeout > 0 {
		return r.Timeout
	}
	return defaultFetchTimeout
}

// fetch asks the resolver, and other servers for what a directory does not have.
func (m *operatorMode) fetch(key string) (string, error) {
	began := time.Now()
	token, err := m.fetchOwn(key)
	if d := m.directory(); d != nil && errors.Is(err, operator.ErrNoAccount) {
		token, err = m.lookUp(d, key)
	}
	if took := time.Since(began); took > time.Second {
		m.s.log.Warnf("Fetching of account %q took %v", key, took)
	}
	return token, err
}

// fetchOwn asks the resolver.
func (m *operatorMode) fetchOwn(key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.fetchTimeout())
	defer cancel()
	return m.accounts().Fetch(ctx, key)
}

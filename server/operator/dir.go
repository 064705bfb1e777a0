package operator

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/options"
)

const (
	tokenSuffix   = ".jwt"
	deletedSuffix = ".deleted"
)

// Errors of a Dir.
var (
	ErrStoreFull    = errors.New("jwt store is full")
	ErrNoDeletion   = errors.New("delete must be enabled in server config")
	errKeyMismatch  = errors.New("subject does not match jwt content")
	errInvalidKey   = errors.New("will only fetch valid account keys")
	errNoKey        = errors.New("not a valid account key")
	errTokenTooLong = errors.New("token too large")
)

// Dir keeps account JWTs as files, one an account: all of them (full), or those
// in use (cache). It is safe for concurrent use.
type Dir struct {
	r options.Resolver

	mu     sync.Mutex
	tokens map[string]*list.Element // of *stored; by account key
	used   *list.List               // most recently used first
	hash   [sha256.Size]byte        // XOR of the hashes of all tokens
}

type stored struct {
	key  string
	hash [sha256.Size]byte
	exp  int64     // Unix seconds, 0: never
	used time.Time // for the cache's TTL
}

// OpenDir reads what a directory holds.
func OpenDir(r options.Resolver) (*Dir, error) {
	d := &Dir{r: r, tokens: map[string]*list.Element{}, used: list.New()}
	_, err := d.Rescan()
	return d, err
}

func (d *Dir) path(key string) string { return filepath.Join(d.r.Dir, key+tokenSuffix) }

// Full tells a store of all accounts from a cache.
func (d *Dir) Full() bool { return d.r.Type == "full" }

// Interval is the time between two exchanges with other servers.
func (d *Dir) Interval() time.Duration { return d.r.Interval }

// Rescan reads the directory again and returns the keys whose token is new or
// has changed.
func (d *Dir) Rescan() (changed []string, err error) {
	entries, err := os.ReadDir(d.r.Dir)
	if err != nil {
		return nil, fmt.Errorf("jwt directory: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	there := map[string]bool{}
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), tokenSuffix)
		if !ok || !nkeys.IsValidPublicAccountKey(key) {
			continue
		}
		token, err := d.read(key)
		if err != nil {
			continue // not a token of this account: as if it were not there
		}
		there[key] = true
		if d.track(key, token) {
			changed = append(changed, key)
		}
	}
	for key := range d.tokens {
		if !there[key] {
			d.forget(key)
		}
	}
	return changed, nil
}

func (d *Dir) read(key string) (string, error) {
	text, err := os.ReadFile(d.path(key))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", ErrNoAccount
	case err != nil:
		return "", err
	case len(text) > maxToken:
		return "", errTokenTooLong
	}
	return string(text), nil
}

// track takes a token into the books; it returns whether that changed them. mu
// is held.
func (d *Dir) track(key, token string) bool {
	s := &stored{key: key, hash: sha256.Sum256([]byte(token)), used: time.Now()}
	if c, err := jwt.DecodeGeneric(token); err == nil {
		s.exp = c.Expires
	}
	if e := d.tokens[key]; e != nil {
		if e.Value.(*stored).hash == s.hash {
			return false
		}
		d.forget(key)
	}
	d.tokens[key] = d.used.PushFront(s)
	d.mix(&s.hash)
	return true
}

func (d *Dir) mix(h *[sha256.Size]byte) {
	for i, b := range h {
		d.hash[i] ^= b
	}
}

// forget takes a token out of the books; mu is held.
func (d *Dir) forget(key string) {
	if e := d.tokens[key]; e != nil {
		d.mix(&e.Value.(*stored).hash)
		d.used.Remove(e)
		delete(d.tokens, key)
	}
}

// Fetch implements Resolver for what the directory holds.
func (d *Dir) Fetch(_ context.Context, key string) (string, error) {
	if !nkeys.IsValidPublicAccountKey(key) {
		return "", errInvalidKey
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	token, err := d.read(key)
	if err != nil {
		return "", err
	}
	d.track(key, token)
	e := d.tokens[key]
	d.used.MoveToFront(e)
	e.Value.(*stored).used = time.Now()
	return token, nil
}

// Store keeps a token, durably.
func (d *Dir) Store(key, token string) error {
	c, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return err
	}
	if c.Subject != key {
		return errKeyMismatch
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tokens[key] == nil && d.r.Limit > 0 && int64(len(d.tokens)) >= d.r.Limit {
		if d.Full() {
			return ErrStoreFull
		}
		oldest := d.used.Back().Value.(*stored).key
		d.forget(oldest)
		os.Remove(d.path(oldest))
	}
	if err := replaceFile(d.path(key), token); err != nil {
		return err
	}
	d.track(key, token)
	return nil
}

// replaceFile writes a file so that it is the old or the new one at any time.
func replaceFile(name, text string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Merge keeps a token that another server has, if it is newer than ours.
func (d *Dir) Merge(key, token string) (changed bool, err error) {
	theirs, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return false, err
	}
	if ours, err := d.Fetch(context.Background(), key); err == nil {
		if c, err := jwt.DecodeAccountClaims(ours); err == nil && (c.ID == theirs.ID || c.IssuedAt > theirs.IssuedAt) {
			return false, nil
		}
	}
	return true, d.Store(key, token)
}

// Delete removes accounts, or puts their files aside.
func (d *Dir) Delete(key string) error {
	if !d.r.AllowDelete {
		return ErrNoDeletion
	}
	if !nkeys.IsValidPublicAccountKey(key) {
		return errNoKey // and not to be part of a path
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(key)
	var err error
	if d.r.HardDelete {
		err = os.Remove(d.path(key))
	} else {
		err = os.Rename(d.path(key), d.path(key)+deletedSuffix)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Hash stands for all tokens: two stores with the same hash hold the same.
func (d *Dir) Hash() [sha256.Size]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hash
}

// Keys are those of all accounts, in order.
func (d *Dir) Keys() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.tokens))
}

// Expire removes tokens whose time has passed: their own, or that of a cache
// since their last use. It returns their keys.
func (d *Dir) Expire(now time.Time) (gone []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, e := range d.tokens {
		s := e.Value.(*stored)
		if expired(s.exp, now) || d.r.TTL > 0 && now.Sub(s.used) > d.r.TTL {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		d.forget(key)
		os.Remove(d.path(key))
	}
	return gone
}

package ocsp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
	"golang.org/x/crypto/ocsp"

	"github.com/natsd/natsd/server/options"
)

const (
	// maxCached bounds the answers that are kept, some 30 MiB. Beyond it the one that was fetched first goes.
	maxCached = 10_000
	// maxCacheFile bounds the file that is read.
	maxCacheFile = 256 << 20

	cacheFile    = "cache.json"
	cacheTemp    = "ocsprc-*"
	cacheDirMode = 0o755
)

// Cache keeps the answers about peers, in memory and, where that is configured, in a file that later servers read. Its
// methods are safe for concurrent use.
type Cache struct {
	config options.OCSPCache
	host   Host
	stop   chan struct{} // closed by Stop
	ended  chan struct{} // closed by the goroutine that saves; nil: there is none

	mu      sync.Mutex // guards the rest
	answers map[Fingerprint]*cached
	changed bool // since the file was written
	hits    int64
	misses  int64
}

// cached is an answer in the file.
type cached struct {
	Subject string    `json:"subject,omitempty"`
	At      time.Time `json:"cached_at"`
	Status  string    `json:"resp_status"`
	Expires time.Time `json:"resp_expires"`
	// Answer is the DER form as an S2 stream.
	Answer []byte `json:"resp"`
}

// CacheStats is what a cache holds and did.
type CacheStats struct {
	Type                   string
	Hits, Misses           int64
	Good, Revoked, Unknown int64
}

// OpenCache returns the cache of a configuration, nil for the default. A file that cannot be read is a warning.
func OpenCache(config *options.OCSPCache, host Host) *Cache {
	c := &Cache{config: options.DefaultOCSPCache(), host: host, answers: map[Fingerprint]*cached{}, stop: make(chan struct{})}
	if config != nil {
		c.config = *config
	}
	if !c.keeps() {
		return c
	}
	if err := c.load(); err != nil && !errors.Is(err, os.ErrNotExist) {
		host.Warnf("OCSP peer cache: %v; starting with an empty one", err)
		clear(c.answers)
	}
	c.ended = make(chan struct{})
	host.Go(c.run)
	return c
}

// keeps tells whether the cache is one: that of type none forgets everything at once.
func (c *Cache) keeps() bool { return c.config.Type == "local" }

func (c *Cache) path() string { return filepath.Join(c.config.LocalStore, cacheFile) }

// run writes the file when something changed.
func (c *Cache) run() {
	defer close(c.ended)
	tick := time.NewTicker(c.config.SaveInterval)
	defer tick.Stop()
	for ending := false; !ending; {
		select {
		case <-tick.C:
		case <-c.stop:
			ending = true
		}
		if err := c.save(); err != nil {
			c.host.Errorf("OCSP peer cache: %v", err)
		}
	}
}

// Stop writes the file and ends the cache.
func (c *Cache) Stop() {
	close(c.stop)
	if c.ended != nil {
		<-c.ended
	}
}

func (c *Cache) load() error {
	f, err := os.Open(c.path())
	if err != nil {
		return err
	}
	defer f.Close()
	var all map[string]*cached
	if err := json.NewDecoder(io.LimitReader(f, maxCacheFile)).Decode(&all); err != nil {
		return fmt.Errorf("%s: %w", c.path(), err)
	}
	for key, a := range all {
		fp, err := parseFingerprint(key)
		if err != nil || a == nil {
			return fmt.Errorf("%s: %q is no certificate", c.path(), key)
		}
		if len(c.answers) < maxCached {
			c.answers[fp] = a
		}
	}
	return nil
}

func (c *Cache) save() error {
	c.mu.Lock()
	if !c.changed {
		c.mu.Unlock()
		return nil
	}
	c.changed = false
	all := make(map[string]*cached, len(c.answers))
	for fp, a := range c.answers {
		all[fp.String()] = a // not changed once it is in
	}
	c.mu.Unlock()
	err := c.write(all)
	if err != nil {
		c.mu.Lock()
		c.changed = true
		c.mu.Unlock()
	}
	return err
}

func (c *Cache) write(all map[string]*cached) error {
	body, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.config.LocalStore, cacheDirMode); err != nil {
		return err
	}
	return replaceFile(c.path(), cacheTemp, body)
}

// replaceFile writes a file so that it is the old or the new one whatever happens.
func replaceFile(path, temp string, body []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// find returns what is known about a certificate, nil for nothing. An answer that has expired is forgotten, unless it says
// revoked and those are to be preserved; it is still returned. current says whether it counts.
func (c *Cache) find(fp Fingerprint, current func(*cached) bool) (a *cached, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a = c.answers[fp]
	if a != nil && current(a) {
		c.hits++
		return a, true
	}
	c.misses++
	if a != nil && !(a.Status == statusText(ocsp.Revoked) && c.config.PreserveRevoked) {
		delete(c.answers, fp)
		c.changed = true
	}
	return a, false
}

// put keeps an answer.
func (c *Cache) put(fp Fingerprint, a *cached) {
	if !c.keeps() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers[fp] == nil && len(c.answers) >= maxCached {
		var first Fingerprint
		var at time.Time
		for f, o := range c.answers {
			if at.IsZero() || o.At.Before(at) {
				first, at = f, o.At
			}
		}
		delete(c.answers, first)
	}
	c.answers[fp] = a
	c.changed = true
}

// Stats counts.
func (c *Cache) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := CacheStats{Type: c.config.Type, Hits: c.hits, Misses: c.misses}
	for _, a := range c.answers {
		switch a.Status {
		case statusText(ocsp.Good):
			s.Good++
		case statusText(ocsp.Revoked):
			s.Revoked++
		default:
			s.Unknown++
		}
	}
	return s
}

// pack makes the form of the file.
func pack(raw []byte) []byte {
	var b bytes.Buffer
	w := s2.NewWriter(&b, s2.WriterConcurrency(1))
	w.Write(raw) // to memory: it does not fail
	w.Close()
	return b.Bytes()
}

var errTooLong = fmt.Errorf("an answer of more than %d bytes", maxResponse)

// streamStart is how an S2 stream begins.
const streamStart = "\xff\x06\x00\x00"

// unpack reads the form of the file, or a lone S2 block.
func unpack(packed []byte) (raw []byte, err error) {
	if bytes.HasPrefix(packed, []byte(streamStart)) {
		raw, err = io.ReadAll(io.LimitReader(s2.NewReader(bytes.NewReader(packed), s2.ReaderMaxBlockSize(maxResponse)), maxResponse+1))
	} else {
		n, err := s2.DecodedLen(packed)
		switch {
		case err != nil:
			return nil, err
		case n > maxResponse:
			return nil, errTooLong
		}
		return s2.Decode(nil, packed)
	}
	if err == nil && len(raw) > maxResponse {
		err = errTooLong
	}
	return raw, err
}

package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/nats-io/nkeys"
)

// maxToken bounds an account JWT, in bytes, as jwt/v2 does.
const maxToken = 1 << 20

// ErrNoAccount: the resolver does not have the account.
var ErrNoAccount = errors.New("account jwt not found")

// Resolver is where account JWTs are looked up. Its methods may be called from
// several goroutines, and Fetch may take as long as the resolver's timeout.
type Resolver interface {
	// Fetch returns the JWT of an account, or an error, ErrNoAccount if there is
	// none.
	Fetch(ctx context.Context, key string) (token string, err error)
}

// Memory keeps what the configuration preloads.
type Memory struct {
	mu     sync.Mutex
	tokens map[string]string
}

// NewMemory makes a resolver of account JWTs by key.
func NewMemory(preload map[string]string) *Memory { return &Memory{tokens: preload} }

// Fetch implements Resolver.
func (m *Memory) Fetch(_ context.Context, key string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.tokens[key]; ok {
		return t, nil
	}
	return "", ErrNoAccount
}

// URL asks a web server.
type URL struct {
	url    string
	shown  string // in errors: without a password
	client *http.Client
}

// NewURL makes a resolver of a URL that account keys are appended to. The server
// must answer the URL itself.
func NewURL(ctx context.Context, address string, client *http.Client) (*URL, error) {
	u := &URL{address, address, client}
	if parsed, err := url.Parse(address); err == nil {
		u.shown = parsed.Redacted()
	}
	_, err := u.get(ctx, "")
	return u, err
}

// Fetch implements Resolver.
func (u *URL) Fetch(ctx context.Context, key string) (string, error) {
	if !nkeys.IsValidPublicAccountKey(key) {
		return "", errInvalidKey
	}
	return u.get(ctx, key)
}

func (u *URL) get(ctx context.Context, key string) (string, error) {
	fail := func(cause any) error { return fmt.Errorf("could not fetch <%q>: %v", u.shown+key, cause) }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url+key, nil)
	if err != nil {
		return "", fail(err)
	}
	res, err := u.client.Do(req)
	if err != nil {
		return "", fail(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fail(res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxToken+1))
	if err != nil {
		return "", fail(err)
	}
	if len(body) > maxToken {
		return "", fail("token too large")
	}
	return string(body), nil
}

package options

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// tlsRole is the side of a connection for which a tls block is.
type tlsRole uint8

const (
	tlsServer tlsRole = iota // accepts
	tlsClient                // connects
	tlsPeer                  // both, with certificates on both sides: clusters and gateways
)

// Defaults of tls blocks.
const (
	defaultTLSTimeout        = 2 * time.Second
	defaultHandshakeFallback = 50 * time.Millisecond
	defaultOCSPCATimeout     = 2 * time.Second
	defaultOCSPClockSkew     = 30 * time.Second
	defaultOCSPCacheTTL      = time.Hour
	defaultOCSPSaveInterval  = 5 * time.Minute
	defaultOCSPLocalStore    = "_rc_"
	minOCSPSaveInterval      = time.Second
	windowsCurrentUser       = "windowscurrentuser"
	windowsLocalMachine      = "windowslocalmachine"
)

// tlsBlock is a tls block while it is read.
type tlsBlock struct {
	TLS
	certs         bool // the key certs was there
	ciphers       []*tls.CipherSuite
	allowInsecure bool
	curves        []tls.CurveID
	minVersion    uint16
	certStore     string
}

// fileName reads the name of a file.
func fileName(name string, at func(*tlsBlock) *string) *row[tlsBlock] {
	return custom(name, "string", func(_ *reader, e *conf.Entry, t *tlsBlock) error {
		if e.Value.Kind != conf.String {
			return fmt.Errorf("error parsing tls config, expected '%s' to be filename", name)
		}
		*at(t) = e.Value.Str
		return nil
	})
}

// tlsSwitch reads a boolean.
func tlsSwitch(name string, at func(*tlsBlock) *bool) *row[tlsBlock] {
	r := custom(name, "boolean", func(_ *reader, e *conf.Entry, t *tlsBlock) error {
		if e.Value.Kind != conf.Bool {
			return fmt.Errorf("error parsing tls config, expected '%s' to be a boolean", name)
		}
		*at(t) = e.Value.Bool
		return nil
	})
	r.get = func(t *tlsBlock) any { return *at(t) }
	return r
}

// storeText reads a string of the Windows certificate store.
func storeText(name string, check func(string) error) *row[tlsBlock] {
	return custom(name, "string", func(_ *reader, e *conf.Entry, t *tlsBlock) error {
		if e.Value.Kind != conf.String || e.Value.Str == "" {
			return fmt.Errorf("expected '%s' to be a valid non-empty string", name)
		}
		if name == "cert_store" {
			t.certStore = e.Value.Str
		}
		return check(e.Value.Str)
	})
}

var tlsTable = func() *table[tlsBlock] {
	t := newTable("tls",
		fileName("cert_file", func(t *tlsBlock) *string { return &t.CertFile }).doc("certificate, PEM"),
		fileName("key_file", func(t *tlsBlock) *string { return &t.KeyFile }).doc("its private key, PEM"),
		fileName("ca_file", func(t *tlsBlock) *string { return &t.CAFile }).doc("certificate authorities of the other side, PEM"),
		custom("certs", "list of blocks", readCerts).alias("certificates").of(certTable).since("2.10.8").
			doc("several certificates"),
		tlsSwitch("verify", func(t *tlsBlock) *bool { return &t.Verify }).
			doc("require client certificates, and verify them"),
		tlsSwitch("verify_and_map", func(t *tlsBlock) *bool { return &t.VerifyAndMap }).since("2.0").
			doc("and take the user from them").fixed("TLSMap").check(func(_ string, t *tlsBlock) error {
			t.Verify = t.Verify || t.VerifyAndMap
			return nil
		}),
		tlsSwitch("verify_cert_and_check_known_urls", func(t *tlsBlock) *bool { return &t.VerifyKnownURLs }).since("2.2").
			doc("and want a name of a configured route or gateway in them; in `cluster` and `gateway` only").check(func(_ string, t *tlsBlock) error {
			t.Verify = t.Verify || t.VerifyKnownURLs
			return nil
		}),
		tlsSwitch("insecure", func(t *tlsBlock) *bool { return &t.Insecure }).
			doc("do not verify the server when connecting to it"),
		custom("timeout", "seconds or duration", func(_ *reader, e *conf.Entry, t *tlsBlock) error {
			d, err := asTimeout(e.Value)
			if err != nil {
				return fmt.Errorf("error parsing tls config, 'timeout' %w", err)
			}
			t.Timeout = d
			return nil
		}).doc("time for the handshake").def("2s"),
		custom("cipher_suites", "list", readCipherSuites).doc("cipher suites of TLS 1.2, by IANA name").def("all that are secure"),
		tlsSwitch("allow_insecure_cipher_suites", func(t *tlsBlock) *bool { return &t.allowInsecure }).since("2.12").
			doc("`cipher_suites` may name insecure ones"),
		custom("curve_preferences", "list", readCurves).doc("key exchanges").
			def("X25519MLKEM768, SecP384r1MLKEM1024, SecP256r1MLKEM768, X25519, CurveP256, CurveP384, CurveP521"),
		custom("min_version", "string", readMinVersion).doc("`1.2` or `1.3`, in quotes").def(`"1.2"`),
		custom("pinned_certs", "list", readPinnedCerts).since("2.3").
			doc("SHA-256 of the SubjectPublicKeyInfo of accepted certificates, in hexadecimal"),
		custom("connection_rate_limit", "integer", func(_ *reader, e *conf.Entry, t *tlsBlock) error {
			if e.Value.Kind != conf.Int {
				return errorText("error parsing tls config, 'connection_rate_limit' wrong type")
			}
			t.RateLimit = e.Value.Int
			return nil
		}).since("2.7").doc("handshakes in a second, of clients").def("unlimited").fixed("TLSRateLimit"),
		custom("handshake_first", "boolean or string", readHandshakeFirst).alias("first", "immediate").since("2.10").
			doc("handshake before INFO: `auto`, or a duration, falls back after that time").def("false"),
		storeText("cert_store", func(s string) error {
			switch strings.ToLower(s) {
			case windowsCurrentUser, windowsLocalMachine:
				return errorText("cert_store not compatible with current operating system")
			}
			return errorText("cert store type not implemented")
		}).since("2.10").doc("Windows certificate store"),
		storeText("cert_match_by", func(s string) error {
			switch strings.ToLower(s) {
			case "subject", "issuer", "thumbprint":
				return nil
			}
			return errorText("cert match by type not implemented")
		}).since("2.10").doc("how a certificate is found in the store"),
		storeText("cert_match", func(string) error { return nil }).since("2.10").doc("what is looked for in the store"),
		custom("ca_certs_match", "string or list", func(_ *reader, e *conf.Entry, _ *tlsBlock) error {
			_, err := asStrings(e.Value, "ca_certs_match")
			return err
		}).since("2.10.23").doc("authorities looked for in the store"),
		custom("cert_match_skip_invalid", "boolean", func(_ *reader, e *conf.Entry, _ *tlsBlock) error {
			if e.Value.Kind != conf.Bool {
				return errorText("expected 'cert_match_skip_invalid' to be a boolean")
			}
			return nil
		}).since("2.10.23").doc("pass over certificates that are not valid"),
		custom("ocsp_peer", "boolean or block", readOCSPPeer).of(ocspPeerTable).since("2.10").
			doc("ask OCSP about the other side's certificate"),
	)
	t.unknown = "error parsing tls config, unknown field %q"
	t.strict = true
	t.single = true
	return t
}()

// tls reads a tls block and loads what it names.
func (r *reader) tls(e *conf.Entry, role tlsRole) (*TLS, error) {
	if err := asBlock(e.Value); err != nil {
		return nil, err
	}
	before := len(r.errors)
	b := &tlsBlock{TLS: TLS{Timeout: defaultTLSTimeout}, minVersion: tls.VersionTLS12}
	tlsTable.read(r, e, b)
	if len(r.errors) > before {
		return &b.TLS, nil
	}
	if b.VerifyKnownURLs && role != tlsPeer {
		return nil, errorText("verify_cert_and_check_known_urls not supported in this context")
	}
	config, err := b.config(role)
	b.TLS.Config = config
	return &b.TLS, err
}

// config makes the configuration for the library.
func (b *tlsBlock) config(role tlsRole) (*tls.Config, error) {
	c := &tls.Config{MinVersion: b.minVersion, CurvePreferences: b.curves}
	if c.CurvePreferences == nil {
		for _, k := range curves {
			c.CurvePreferences = append(c.CurvePreferences, k.id)
		}
	}
	var insecure []string
	suites := b.ciphers
	if suites == nil {
		suites = tls.CipherSuites()
	}
	for _, s := range suites {
		c.CipherSuites = append(c.CipherSuites, s.ID)
		if s.Insecure {
			insecure = append(insecure, s.Name)
		}
	}
	if len(insecure) > 0 && !b.allowInsecure {
		return nil, fmt.Errorf("insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: %s", strings.Join(insecure, ", "))
	}
	if err := b.loadCertificates(c); err != nil {
		return nil, err
	}
	if b.CAFile != "" {
		pem, err := os.ReadFile(b.CAFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errorText("failed to parse root ca certificate")
		}
		if role != tlsServer {
			c.RootCAs = pool
		}
		if role != tlsClient {
			c.ClientCAs = pool
		}
	}
	if role != tlsClient && b.Verify || role == tlsPeer {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if role != tlsServer {
		c.InsecureSkipVerify = b.Insecure
	}
	return c, nil
}

func (b *tlsBlock) loadCertificates(c *tls.Config) error {
	switch {
	case b.certs && b.CertFile != "":
		return errorText("error parsing tls config, cannot combine 'cert_file' option with 'certs' option")
	case b.certStore != "" && b.CertFile != "":
		return errorText("'cert_file' and 'cert_store' may not both be configured")
	case b.CertFile != "" && b.KeyFile == "":
		return errorText("missing 'key_file' in TLS configuration")
	case b.CertFile == "" && b.KeyFile != "":
		return errorText("missing 'cert_file' in TLS configuration")
	case b.CertFile != "":
		cert, err := tls.LoadX509KeyPair(b.CertFile, b.KeyFile)
		if err != nil {
			return fmt.Errorf("error parsing X509 certificate/key pair: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
		return nil
	}
	for i, files := range b.Certificates {
		cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			return fmt.Errorf("error parsing X509 certificate/key pair %d/%d: %w", i+1, len(b.Certificates), err)
		}
		c.Certificates = append(c.Certificates, cert)
	}
	return nil
}

var certTable = func() *table[CertificateFiles] {
	t := newTable("certs",
		str("cert_file", func(c *CertificateFiles) *string { return &c.CertFile }).doc("certificate, PEM"),
		str("key_file", func(c *CertificateFiles) *string { return &c.KeyFile }).doc("its private key, PEM"),
	)
	t.unknown = "error parsing tls certs config, unknown field %q"
	t.strict = true
	t.caseSensitive = true
	return t
}()

func readCerts(r *reader, e *conf.Entry, t *tlsBlock) error {
	if e.Value.Kind != conf.Array {
		return fmt.Errorf("error parsing certificates config: unsupported type %s", e.Value.Kind)
	}
	t.certs = true
	for _, v := range e.Value.Elems {
		if v.Kind != conf.Map {
			return fmt.Errorf("error parsing certificates config: unsupported type %s", v.Kind)
		}
		before := len(r.errors)
		var c CertificateFiles
		certTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, &c)
		if len(r.errors) > before {
			continue
		}
		if c.CertFile == "" || c.KeyFile == "" {
			return errorText("error parsing certificates config: both 'cert_file' and 'cert_key' options are required")
		}
		t.Certificates = append(t.Certificates, c)
	}
	return nil
}

func readCipherSuites(_ *reader, e *conf.Entry, t *tlsBlock) error {
	names, err := elements(e.Value)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errorText("error parsing tls config, 'cipher_suites' cannot be empty")
	}
	t.ciphers = nil
	for i, name := range names {
		s := cipherSuite(name)
		if s == nil {
			return at(e.Value.Elems[i], fmt.Errorf("unrecognized cipher %s", name))
		}
		t.ciphers = append(t.ciphers, s)
	}
	return nil
}

func cipherSuite(name string) *tls.CipherSuite {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// curves that curve_preferences may name, in the default order.
var curves = []struct {
	name string
	id   tls.CurveID
}{
	{"X25519MLKEM768", tls.X25519MLKEM768},
	{"SecP384r1MLKEM1024", tls.SecP384r1MLKEM1024},
	{"SecP256r1MLKEM768", tls.SecP256r1MLKEM768},
	{"X25519", tls.X25519},
	{"CurveP256", tls.CurveP256},
	{"CurveP384", tls.CurveP384},
	{"CurveP521", tls.CurveP521},
}

func readCurves(_ *reader, e *conf.Entry, t *tlsBlock) error {
	names, err := elements(e.Value)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errorText("error parsing tls config, 'curve_preferences' cannot be empty")
	}
	t.curves = nil
next:
	for i, name := range names {
		for _, k := range curves {
			if k.name == name {
				t.curves = append(t.curves, k.id)
				continue next
			}
		}
		return at(e.Value.Elems[i], fmt.Errorf("unrecognized curve preference %s", name))
	}
	return nil
}

func readMinVersion(_ *reader, e *conf.Entry, t *tlsBlock) error {
	if e.Value.Kind != conf.String {
		return fmt.Errorf("error parsing tls config: 'min_version' wrong type: %v", e.Value)
	}
	versions := map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	v, ok := versions[e.Value.Str]
	switch {
	case !ok:
		return fmt.Errorf("error parsing tls config: unknown version: %s", e.Value.Str)
	case v < tls.VersionTLS12:
		return fmt.Errorf("error parsing tls config: unsupported TLS version: %s", tls.VersionName(v))
	}
	t.minVersion = v
	return nil
}

var pinnedCert = regexp.MustCompile(`^[0-9a-f]{64}$`)

func readPinnedCerts(_ *reader, e *conf.Entry, t *tlsBlock) error {
	const what = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo"
	if e.Value.Kind != conf.Array {
		return errorText("error parsing tls config, expected 'pinned_certs' to be a list of " + what)
	}
	pins, err := elements(e.Value)
	if err != nil {
		return err
	}
	t.PinnedCerts = nil
	for i, pin := range pins {
		pin = strings.ToLower(pin)
		if !pinnedCert.MatchString(pin) {
			return at(e.Value.Elems[i], fmt.Errorf("error parsing tls config, 'pinned_certs' key %s does not look like %s", pin, what))
		}
		if t.PinnedCerts == nil {
			t.PinnedCerts = make(map[string]struct{})
		}
		t.PinnedCerts[pin] = struct{}{}
	}
	return nil
}

func readHandshakeFirst(_ *reader, e *conf.Entry, t *tlsBlock) error {
	switch e.Value.Kind {
	case conf.Bool:
		t.HandshakeFirst = e.Value.Bool
		t.HandshakeFirstFallback = 0
		return nil
	case conf.String:
		t.HandshakeFirst, t.HandshakeFirstFallback = true, 0
		switch s := strings.ToLower(e.Value.Str); s {
		case "true", "on":
		case "false", "off":
			t.HandshakeFirst = false
		case "auto", "auto_fallback":
			t.HandshakeFirstFallback = defaultHandshakeFallback
		default:
			d, err := time.ParseDuration(s)
			if err != nil {
				return fmt.Errorf("field %q's value %q is invalid", e.Key, e.Value.Str)
			}
			t.HandshakeFirstFallback = d
		}
		return nil
	}
	return fmt.Errorf("field %q should be a boolean or a string, got %s", e.Key, e.Value.Kind)
}

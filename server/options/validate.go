package options

import (
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/version"
	"github.com/natsd/natsd/subjecttree"
)

// Validate checks options against each other; the options must be complete. It is what a start and a reload ask beyond
// what a test of the file does. The first failure is returned.
func (o *Options) Validate() error {
	for _, check := range []func() error{
		o.checkLimits, o.checkTrust, o.checkLeafNodes, o.checkAuth, o.checkProxies, o.checkGateway, o.checkCluster,
		o.checkMQTT, o.checkJetStream, o.checkWebSocket, o.checkSystemAccount,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) checkLimits() error {
	switch {
	case o.LameDuckGracePeriod >= o.LameDuckDuration:
		return fmt.Errorf("lame duck grace period (%v) should be strictly lower than lame duck duration (%v)", o.LameDuckGracePeriod, o.LameDuckDuration)
	case o.MaxPayload > o.MaxPending:
		return fmt.Errorf("max_payload (%v) cannot be higher than max_pending (%v)", o.MaxPayload, o.MaxPending)
	}
	return checkServerName(o.ServerName)
}

// operatorMode tells whether accounts come as JWTs.
func (o *Options) operatorMode() bool { return len(o.Operators) > 0 || len(o.TrustedKeys) > 0 }

func (o *Options) checkTrust() error {
	if len(o.Operators) == 0 {
		if o.DefaultSentinel != "" {
			return errorText("default sentinel requires operators and accounts")
		}
		return o.checkPinnedAccounts()
	}
	if err := checkSentinel(o.DefaultSentinel); err != nil {
		return err
	}
	switch {
	case o.Resolver == nil:
		return errorText("operators require an account resolver to be configured")
	case len(o.Accounts) > 0:
		return errorText("operators do not allow Accounts to be configured directly")
	case len(o.Authorization.Users) > 0:
		return errorText("operators do not allow users to be configured directly")
	case len(o.TrustedKeys) > 0:
		return errorText("conflicting options for 'TrustedKeys' and 'TrustedOperators'")
	}
	if o.Resolver.Type == "url" && len(o.ResolverPreload) > 0 {
		return errorText("resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR")
	}
	for _, op := range o.Operators {
		if sys := op.Claims.SystemAccount; sys != "" && o.SystemAccount != "" && sys != o.SystemAccount {
			return errorText("system_account in config and operator JWT must be identical")
		}
	}
	if o.SystemAccount == "" && (o.Resolver.Type == "full" || o.Resolver.Type == "cache") {
		return errorText("using nats based account resolver - the system account needs to be specified in configuration or the operator jwt")
	}
	for _, op := range o.Operators {
		if err := checkServerVersion(op.Claims); err != nil {
			return err
		}
	}
	if err := o.checkPinnedAccounts(); err != nil {
		return err
	}
	if o.Authorization.Callout != nil {
		return errorText("operators do not allow authorization callouts to be configured directly")
	}
	return nil
}

func (o *Options) checkPinnedAccounts() error {
	for _, k := range o.ResolverPinnedAccounts {
		if !nkeys.IsValidPublicAccountKey(k) {
			return fmt.Errorf("pinned account key %q is not a valid public account nkey", k)
		}
	}
	return nil
}

// checkSentinel checks the user JWT of clients without credentials. One that is not a bearer token may still be a scoped
// user, whose rights are in its signing key.
func checkSentinel(token string) error {
	if token == "" {
		return nil
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return errorText("default sentinel JWT not valid")
	}
	if !claims.BearerToken && (claims.IssuerAccount == "" || !claims.HasEmptyPermissions()) {
		return errorText("default sentinel must be a bearer token")
	}
	return nil
}

// checkServerVersion checks the oldest version that an operator wants.
func checkServerVersion(c *jwt.OperatorClaims) error {
	if c.AssertServerVersion == "" {
		return nil
	}
	var want, have [3]int
	fmt.Sscanf(c.AssertServerVersion, "%d.%d.%d", &want[0], &want[1], &want[2])
	fmt.Sscanf(version.Compatible, "%d.%d.%d", &have[0], &have[1], &have[2])
	for i, part := range []string{"major", "minor", "update"} {
		if want[i] > have[i] {
			return fmt.Errorf("operator %s expected %s version %d > server %s version %d", c.Subject, part, want[i], part, have[i])
		}
		if want[i] < have[i] {
			return nil
		}
	}
	return nil
}

func (o *Options) checkLeafNodes() error {
	l := &o.LeafNodes
	a := &l.Authorization
	if len(a.Users) > 0 {
		switch {
		case a.Username != "":
			return errorText("can not have a single user/pass and a users array")
		case a.NKey != "":
			return errorText("can not have a single nkey and a users array")
		}
	}
	seen := make(map[string]bool)
	for _, u := range a.Users {
		if seen[u.Username] {
			return fmt.Errorf("duplicate user %q detected in leafnode authorization", u.Username)
		}
		seen[u.Username] = true
	}
	remotes := make(map[string]bool)
	for _, r := range l.Remotes {
		if remotes[r.key()] {
			return fmt.Errorf("duplicate %s", r.Identity())
		}
		remotes[r.key()] = true
	}
	if err := o.checkLeafAccounts(); err != nil {
		return err
	}
	if l.Port != 0 {
		if err := l.Compression.check(); err != nil {
			return err
		}
	}
	for _, r := range l.Remotes {
		if err := r.Compression.check(); err != nil {
			return err
		}
		web := slices.IndexFunc(r.URLs, isWebSocket)
		plain := slices.IndexFunc(r.URLs, func(u *url.URL) bool { return !isWebSocket(u) })
		if web >= 0 && plain >= 0 {
			urls := make([]string, len(r.URLs))
			for i, u := range r.URLs {
				urls[i] = u.Redacted()
			}
			return fmt.Errorf("remote leaf node configuration cannot have a mix of websocket and non-websocket urls: %q", urls)
		}
	}
	if l.MinVersion != "" {
		if err := checkLeafVersion(l.MinVersion); err != nil {
			return err
		}
	}
	if l.Port != 0 && o.Gateway.Name != "" && o.SystemAccount == "" {
		return errorText("leaf nodes and gateways (both being defined) require a system account to also be configured")
	}
	return nil
}

// checkLeafAccounts checks the accounts that leaf nodes are bound to.
func (o *Options) checkLeafAccounts() error {
	if o.operatorMode() {
		if len(o.LeafNodes.Authorization.Users) > 0 {
			return errorText("operator mode does not allow specifying users in leafnode config")
		}
		for _, r := range o.LeafNodes.Remotes {
			switch {
			case r.Account == GlobalAccount:
				return errorText("operator mode requires account nkeys in remotes. Please add an `account` key to each remote in your `leafnodes` section, to assign it to an account. Each account value should be a 56 character public key, starting with the letter 'A'")
			case !nkeys.IsValidPublicAccountKey(r.Account):
				return errorText("operator mode and non account nkeys are incompatible")
			}
		}
		if a := o.LeafNodes.Authorization.Account; a != "" && !nkeys.IsValidPublicAccountKey(a) {
			return errorText("operator mode and non account nkeys are incompatible")
		}
		return nil
	}
	known := func(name string) bool {
		return name == "" || name == GlobalAccount || name == o.SystemAccountName() || o.HasAccount(name)
	}
	for _, r := range o.LeafNodes.Remotes {
		if !known(r.Account) {
			return fmt.Errorf("cannot find local account %q specified in leafnode remote", r.Account)
		}
	}
	auth := &o.LeafNodes.Authorization
	if !known(auth.Account) {
		return fmt.Errorf("cannot find local account %q specified in leafnode authorization", auth.Account)
	}
	for _, u := range auth.Users {
		if !known(u.Account) {
			return fmt.Errorf("cannot find local account %q specified in leafnode authorization", u.Account)
		}
	}
	return nil
}

// hasUsers tells whether the table of users is not empty.
func (o *Options) hasUsers() bool {
	return len(o.Authorization.Users) > 0 || slices.ContainsFunc(o.Accounts, func(a *Account) bool { return len(a.Users) > 0 })
}

// knowsUser tells whether a user or nkey is configured.
func (o *Options) knowsUser(name string) bool {
	has := func(u *User) bool { return u.Username == name && u.NKey == "" || u.NKey == name }
	return slices.ContainsFunc(o.Authorization.Users, has) ||
		slices.ContainsFunc(o.Accounts, func(a *Account) bool { return slices.ContainsFunc(a.Users, has) })
}

// checkNoAuthUser checks the user of clients without credentials.
func (o *Options) checkNoAuthUser(name string) error {
	switch {
	case name == "":
		return nil
	case len(o.Operators) > 0:
		return errorText("no_auth_user not compatible with Trusted Operator")
	case !o.hasUsers():
		return fmt.Errorf("no_auth_user: %q present, but users/nkeys are not defined", name)
	case !o.knowsUser(name):
		return fmt.Errorf("no_auth_user: %q not present as user or nkey in authorization block or account configuration", name)
	}
	return nil
}

func (o *Options) checkAuth() error { return o.checkNoAuthUser(o.NoAuthUser) }

func (o *Options) checkProxies() error {
	for _, k := range o.ProxyKeys {
		if !nkeys.IsValidPublicKey(k) {
			return fmt.Errorf("proxy trusted key %q is invalid", k)
		}
	}
	return nil
}

func (o *Options) checkGateway() error {
	g := &o.Gateway
	if g.Name == "" && g.Port == 0 {
		return nil
	}
	switch {
	case g.Name == "":
		return errorText("gateway has no name")
	case g.Port == 0:
		return fmt.Errorf("gateway %q has no port specified (select -1 for random port)", g.Name)
	}
	for i, r := range g.Gateways {
		switch {
		case r.Name == "":
			return fmt.Errorf("gateway in the list %d has no name", i)
		case len(r.URLs) == 0:
			return fmt.Errorf("gateway %q has no URL", r.Name)
		}
	}
	return nil
}

func (o *Options) checkCluster() error {
	c := &o.Cluster
	if c.Port != 0 {
		if err := c.Compression.check(); err != nil {
			return err
		}
	}
	if c.Name != "" && o.Gateway.Name != "" && c.Name != o.Gateway.Name {
		return errorText("cluster name conflicts between cluster and gateway definitions")
	}
	if c.PoolSize < 0 && len(c.Accounts) > 0 {
		return errorText("pool_size cannot be negative if pinned accounts are specified")
	}
	seen := make(map[string]bool)
	for _, a := range c.Accounts {
		if seen[a] {
			return fmt.Errorf("found duplicate account name %q in pinned accounts list %q", a, c.Accounts)
		}
		seen[a] = true
	}
	return nil
}

// check checks the mode of compression and its thresholds.
func (c *Compression) check() error {
	auto := false
	switch strings.ToLower(c.Mode) {
	case "not_supported", "not supported", "off", "disabled", "false", "accept", "on", "enabled", "true",
		"fast", "s2_fast", "better", "s2_better", "best", "s2_best":
	case "auto", "s2_auto":
		auto = true
	default:
		return fmt.Errorf("unsupported compression mode %q", c.Mode)
	}
	if !auto {
		return nil
	}
	t := c.RTTThresholds
	for i := 1; i < len(t); i++ {
		if t[i] != 0 && t[i] <= t[i-1] {
			return fmt.Errorf("RTT threshold values %v should be in ascending order", t)
		}
	}
	switch {
	case t != nil && len(t) == 0, len(t) > 0 && !slices.ContainsFunc(t, func(d time.Duration) bool { return d > 0 }):
		return fmt.Errorf("compression mode %q requires at least one RTT threshold", c.Mode)
	case len(t) > 4:
		return fmt.Errorf("compression mode %q should have no more than 4 RTT thresholds: %v", c.Mode, t)
	}
	return nil
}

// checkListenerAuth checks the identity of another listener.
func (o *Options) checkListenerAuth(what string, a *ListenerAuthorization) error {
	if !o.hasUsers() {
		return nil
	}
	switch {
	case a.Username != "":
		return fmt.Errorf("%s authentication username not compatible with presence of users/nkeys", what)
	case a.Token != "":
		return fmt.Errorf("%s authentication token not compatible with presence of users/nkeys", what)
	}
	return nil
}

func (o *Options) checkMQTT() error {
	m := &o.MQTT
	if m.Port == 0 {
		return nil
	}
	clustered := o.Cluster.Port != 0 || o.Gateway.Port != 0
	if o.ServerName == "" && clustered {
		return errorText("mqtt requires server name to be explicitly set")
	}
	if err := o.checkNoAuthUser(m.NoAuthUser); err != nil {
		return err
	}
	if err := o.checkListenerAuth("mqtt", &m.Authorization); err != nil {
		return err
	}
	switch {
	case m.AckWait < 0:
		return errorText("ack wait must be a positive value")
	case m.JSAPITimeout < 0:
		return errorText("JS API timeout must be a positive value")
	case !clustered && !o.JetStream.Enabled && len(o.LeafNodes.Remotes) == 0:
		return errorText("mqtt requires JetStream to be enabled if running in standalone mode")
	}
	return nil
}

func (o *Options) checkJetStream() error {
	if err := o.checkDefaultDomains(); err != nil {
		return err
	}
	if err := checkDomain(o.JetStream.Domain); err != nil {
		return err
	}
	if !o.JetStream.Enabled || o.Cluster.Port == 0 {
		return nil
	}
	switch hint := o.JetStream.ExtensionHint; {
	case o.ServerName == "":
		return errorText("jetstream cluster requires `server_name` to be set")
	case o.Cluster.Name == "":
		return errorText("jetstream cluster requires `cluster.name` to be set")
	case hint != "" && hint != "no_extend" && hint != "will_extend":
		return fmt.Errorf("expected 'no_extend' for string value, got '%s'", hint)
	case o.JetStream.MaxOutstandingCatchup < 0:
		return errorText("jetstream max catchup cannot be negative")
	}
	return nil
}

// apiOfDomain is where the API of a domain answers.
func apiOfDomain(d string) string { return "$JS." + d + ".API.>" }

func checkDomain(d string) error {
	switch {
	case d == "":
		return nil
	case !subjecttree.Valid(apiOfDomain(d)):
		return fmt.Errorf("invalid domain name: derived %q is not a valid subject", apiOfDomain(d))
	case strings.ContainsAny(d, ".*>"):
		return errorText("invalid domain name: may not contain ., * or >")
	}
	return nil
}

func (o *Options) checkDefaultDomains() error {
	accounts := make([]string, 0, len(o.DefaultJSDomain))
	for a := range o.DefaultJSDomain {
		accounts = append(accounts, a)
	}
	slices.Sort(accounts)
	for _, a := range accounts {
		switch acc := o.Account(a); {
		case !o.operatorMode() && acc == nil && a != GlobalAccount:
			return fmt.Errorf("in non operator mode, `default_js_domain` references non existing account %q", a)
		case a == o.SystemAccountName():
			return fmt.Errorf("system account %q can not be in default_js_domain", a)
		case o.operatorMode() && !nkeys.IsValidPublicAccountKey(a):
			return fmt.Errorf("default_js_domain contains account name %q, which is not a valid public account nkey", a)
		case acc != nil && acc.JetStream != nil:
			return fmt.Errorf("default_js_domain contains account name %q with enabled JetStream", a)
		case !subjecttree.Valid(apiOfDomain(o.DefaultJSDomain[a])):
			return fmt.Errorf("default_js_domain contains account %q with invalid domain name %q", a, o.DefaultJSDomain[a])
		}
	}
	return nil
}

func (o *Options) checkWebSocket() error {
	w := &o.WebSocket
	if w.Port == 0 {
		return nil
	}
	if w.TLS == nil && !w.NoTLS {
		return errorText("websocket requires TLS configuration")
	}
	for _, origin := range w.AllowedOrigins {
		u, err := url.ParseRequestURI(origin)
		switch {
		case err != nil:
			return fmt.Errorf("unable to parse allowed origin: %w", err)
		case u.Scheme != "http" && u.Scheme != "https":
			return fmt.Errorf("unable to parse allowed origin %q: allowed origins must be absolute URLs with http or https scheme", origin)
		case u.Host == "":
			return fmt.Errorf("unable to parse allowed origin %q: host is required", origin)
		}
	}
	if err := o.checkNoAuthUser(w.NoAuthUser); err != nil {
		return err
	}
	if err := o.checkListenerAuth("websocket", &w.Authorization); err != nil {
		return err
	}
	if w.JWTCookie != "" && !o.operatorMode() {
		return fmt.Errorf("trusted operators or trusted keys configuration is required for JWT authentication via cookie %q", w.JWTCookie)
	}
	names := make([]string, 0, len(w.Headers))
	for h := range w.Headers {
		names = append(names, h)
	}
	slices.Sort(names)
	for _, h := range names {
		switch lower := strings.ToLower(h); {
		case slices.Contains([]string{"host", "content-length", "connection", "upgrade", "nats-no-masking"}, lower):
			return fmt.Errorf("websocket: invalid header %q not allowed", h)
		case strings.HasPrefix(lower, "sec-websocket-"):
			return fmt.Errorf(`websocket: invalid header %q, "Sec-WebSocket-" prefix not allowed`, h)
		}
	}
	return nil
}

// checkSystemAccount checks that a system account that was named is there.
func (o *Options) checkSystemAccount() error {
	if o.SystemAccount != "" && !o.operatorMode() && !o.HasAccount(o.SystemAccount) {
		return errorText("error resolving system account: account missing")
	}
	return nil
}

// Unavailable returns an error if the options ask for something that this version does not have and whose absence a user
// would notice.
func (o *Options) Unavailable() error {
	var missing []string
	for _, m := range []struct {
		asked bool
		what  string
	}{
		{o.Cluster.Port != 0, "cluster"},
		{o.Gateway.Port != 0, "gateway"},
		{o.LeafNodes.Port != 0 || slices.ContainsFunc(o.LeafNodes.Remotes, func(r *LeafRemote) bool { return !r.Disabled }), "leafnodes"},
		{o.WebSocket.Port != 0, "websocket"},
		{o.MQTT.Port != 0, "mqtt"},
		{o.JetStream.Enabled && o.JetStream.TPM != nil && runtime.GOOS != "windows", "jetstream.tpm"},
	} {
		if m.asked {
			missing = append(missing, m.what)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("this version of %s does not support: %s", version.Product, strings.Join(missing, ", "))
}

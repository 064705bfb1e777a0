package server

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/server/version"
)

// announce logs what the server is.
func (s *Server) announce(o *options.Options) {
	s.log.Noticef("Starting %s", version.Product)
	s.log.Noticef("  Version:  %s", version.Compatible)
	s.log.Noticef("  Natsd:    %s", version.Natsd)
	commit := version.Commit
	if commit == "" {
		commit = "not set"
	}
	s.log.Noticef("  Git:      [%s]", commit)
	s.log.Debugf("  Go build: %s", runtime.Version())
	if name := s.clusterNameOf(o); name != "" {
		s.log.Noticef("  Cluster:  %s", name)
	}
	s.log.Noticef("  Name:     %s", s.Name())
	if o.JetStream.Enabled {
		s.log.Noticef("  Node:     %s", nameHash(s.Name()))
	}
	s.log.Noticef("  ID:       %s", s.id)
	s.announceFlags(o)
	if s.users.Load().PlainSecrets() {
		s.log.Warnf("Plaintext passwords detected, use nkeys or bcrypt")
	}
	for _, text := range emptyAllowLists(o) {
		s.log.Warnf("%s", text)
	}
	if len(o.DefaultJSDomain) > 0 {
		s.log.Warnf("The option `default_js_domain` is a temporary backwards compatibility measure and will be removed")
	}
}

// usersOf are the users of options, those of accounts included.
func usersOf(o *options.Options) []*options.User {
	all := slices.Clone(o.Authorization.Users)
	for _, a := range o.Accounts {
		all = append(all, a.Users...)
	}
	return all
}

// emptyAllowLists warns of lists that look as if they allowed nothing.
func emptyAllowLists(o *options.Options) (warnings []string) {
	empty := func(l options.SubjectPermissions) bool { return l.Allow != nil && len(l.Allow) == 0 }
	for _, u := range usersOf(o) {
		p := u.Permissions
		if p == nil {
			continue
		}
		warn := func(what string) {
			warnings = append(warnings, fmt.Sprintf("User %q may %s all subjects: an empty allow list is no restriction", u.Username+u.NKey, what))
		}
		if empty(p.Publish) && p.Responses == nil {
			warn("publish to")
		}
		if empty(p.Subscribe) {
			warn("subscribe to")
		}
	}
	return warnings
}

// announceOptions logs where the options come from, and what is to be said about them.
func (s *Server) announceOptions(o *options.Options) {
	if o.ConfigFile != "" {
		s.log.Noticef("Using configuration file: %s (%s)", o.ConfigFile, o.ConfigDigest)
	}
	if len(o.Operators) > 0 {
		s.log.Noticef("Trusted Operators")
	}
	for _, op := range o.Operators {
		expires := "Never"
		if e := op.Claims.Expires; e != 0 {
			expires = time.Unix(e, 0).String()
		}
		s.log.Noticef("  System  : %q", op.Claims.Audience)
		s.log.Noticef("  Operator: %q", op.Claims.Name)
		s.log.Noticef("  Issued  : %v", time.Unix(op.Claims.IssuedAt, 0))
		s.log.Noticef("  Expires : %s", expires)
	}
	if o.MaxPayload > maxSanePayload {
		s.log.Warnf("Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance")
	}
}

// announceFlags logs the feature flags, if some are configured.
func (s *Server) announceFlags(o *options.Options) {
	if len(o.FeatureFlags) == 0 {
		return
	}
	var configured, unsupported []string
	for _, name := range slices.Sorted(maps.Keys(o.FeatureFlags)) {
		standard, known := featureFlags[name]
		state := map[[2]bool]string{
			{false, true}: "opt-in", {false, false}: "disabled", {true, true}: "enabled", {true, false}: "opt-out",
		}[[2]bool{standard, o.FeatureFlags[name]}]
		if known {
			configured = append(configured, name+" ("+state+")")
		} else {
			unsupported = append(unsupported, name)
		}
	}
	if configured == nil {
		configured = []string{"none"}
	}
	s.log.Noticef("  Feature flags:")
	s.log.Noticef("    Configured:    %s", strings.Join(configured, ", "))
	if unsupported != nil {
		s.log.Noticef("    Unsupported:   %s", strings.Join(unsupported, ", "))
	}
}

// announceJetStream logs where JetStream keeps its data and how much of it.
func (s *Server) announceJetStream(js *jetstream.Options) {
	limit := func(n int64) string {
		if n < 0 {
			return "unlimited"
		}
		return options.BinarySize(n)
	}
	s.log.Noticef("Starting JetStream")
	s.log.Noticef("---------------- JETSTREAM ----------------")
	s.log.Noticef("  Max Memory:      %s", limit(js.MaxMemory))
	s.log.Noticef("  Max Storage:     %s", limit(js.MaxStore))
	s.log.Noticef("  Store Directory: %q", filepath.Join(js.StoreDir, "jetstream"))
	if js.Domain != "" {
		s.log.Noticef("  Domain:          %s", js.Domain)
	}
	if js.Encryption.Key != "" {
		s.log.Noticef("  Encryption:      %s", options.CipherName(js.Encryption.Cipher))
	}
	s.log.Noticef("-------------------------------------------")
}

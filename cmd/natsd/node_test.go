package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The JavaScript clients. They need Node and the packages that
// testdata/node/package.json names, installed in the folder that the
// environment variable NATSD_NODE_CLIENTS names; .ci/run sees to that.
func TestNodeClients(t *testing.T) {
	installed := os.Getenv("NATSD_NODE_CLIENTS")
	if installed == "" {
		t.Skip("NATSD_NODE_CLIENTS does not name a folder with the packages of testdata/node/package.json")
	}
	for _, name := range []string{"core.mjs", "jetstream.mjs"} {
		// Node looks for packages beside the script.
		check(t, os.WriteFile(filepath.Join(installed, name), must(os.ReadFile(filepath.Join("testdata/node", name)))(t), 0o600))
	}
	run := func(t *testing.T, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "node", args...)
		cmd.Dir = installed
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	users := "authorization { users: [{user: a, password: secret}] }\n"
	for _, pkg := range []string{"@nats-io/transport-node", "nats"} {
		t.Run(pkg, func(t *testing.T) {
			s := startServer(t, users)
			run(t, "core.mjs", pkg, s.addr, "a", "secret")
		})
		t.Run(pkg+" with TLS", func(t *testing.T) {
			pki := newPKI(t)
			s := startServer(t, users+fmt.Sprintf("tls { cert_file: %q, key_file: %q }", pki.cert, pki.key))
			run(t, "core.mjs", pkg, s.addr, "a", "secret", pki.ca)
		})
	}
	t.Run("jetstream, kv, obj", func(t *testing.T) {
		s := startServer(t, fmt.Sprintf("jetstream { store_dir: %q }", t.TempDir()))
		run(t, "jetstream.mjs", s.addr)
	})
}

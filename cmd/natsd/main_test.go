package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the program prints and how it ends, where it does not run a server.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ok := write("ok.conf", "port: 4222")
	bad := write("bad.conf", "bogus: 1")
	warn := write("warn.conf", "ping_interval: 5")
	refused := write("refused.conf", "no_auth_user: ghost")
	later := write("later.conf", "gateway { name: g, port: -1 }")
	defer func(args []string) { os.Args = args }(os.Args)
	for _, c := range []struct {
		args           string
		code           int
		stdout, stderr string // patterns
	}{
		{"-h", 0, `^\nUsage: natsd \[options\]\n`, `^$`},
		{"HELP", 0, `Usage: `, `^$`},
		{"-v", 0, `^nats-server: v2\.15\.0\+natsd-\d+\.\d+\.\d+\n$`, `^$`},
		{"-D version", 0, `^nats-server: v`, `^$`},
		{"-help_tls", 0, `cert_file`, `^$`},
		{"-nope", 0, `Usage: `, `^flag provided but not defined: -nope\n$`},
		{"frobnicate", 1, `^$`, `^natsd: unrecognized command: "frobnicate"\n$`},
		{"-D -- -V", 1, `^$`, `unrecognized command: "-V"`},
		{"-t", 1, `^$`, `^natsd: must specify \[-c, --config\] option to check configuration file syntax\n$`},
		{"-t -c nosuch.conf", 1, `^$`, `^natsd: open nosuch\.conf: no such file or directory\n$`},
		{"-t -c " + ok, 0, `^$`, `^natsd: configuration file \S+ok\.conf is valid \(sha256:[0-9a-f]{64}\)\n$`},
		{"-t -c " + bad, 1, `^$`, `^natsd: \S+bad\.conf:1:0: unknown field "bogus"\n\n$`},
		{"-t -c " + warn, 1, `^$`, `^natsd: \S+warn\.conf:1:0: invalid use of field "ping_interval": ping_interval should be converted to a duration\n\n$`},
		{"-t -c " + refused, 0, `^$`, `is valid`},
		{"-c " + refused, 1, `^$`, `^natsd: no_auth_user: "ghost" present, but users/nkeys are not defined\n$`},
		{"-t -c " + later, 0, `^$`, `is valid`},
		{"-l /nosuch/log", 1, `^$`, `^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d error opening file: open /nosuch/log: no such file or directory\n$`},
		{"--signal dance=1", 1, `^$`, `^natsd: unknown signal "dance"\n$`},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"natsd"}, strings.Fields(c.args)...), &stdout, &stderr)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, code, c.code)
		}
		for _, out := range []struct{ got, want string }{{stdout.String(), c.stdout}, {stderr.String(), c.stderr}} {
			if !regexp.MustCompile(out.want).MatchString(out.got) {
				t.Errorf("%s: got %q, want %s", c.args, out.got, out.want)
			}
		}
	}
}

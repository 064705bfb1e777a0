package options

import (
	"crypto/tls"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/natsd/natsd/server/version"
)

// Usage is the text of --help.
func Usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nUsage: %s [options]\n", version.Product)
	for _, g := range flagGroups {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, f := range g.flags {
			if f.hidden {
				continue
			}
			names := make([]string, len(f.names))
			for i, n := range f.names {
				names[i] = "--" + n
				if len(n) <= 2 || n == strings.ToUpper(n) {
					names[i] = "-" + n // a letter, or several switches in one
				}
			}
			head := strings.Join(names, ", ")
			if f.arg != "" {
				head += " " + f.arg
			}
			fmt.Fprintf(w, "  %s\t%s\n", head, f.text())
		}
		w.Flush()
	}
	b.WriteString(`
A flag that is given wins over the configuration file. Any flag may be written with one dash or two.

Examples:
  natsd                                     clients on port 4222
  natsd -js -sd ./data                      and JetStream, with its data in ./data
  natsd -c natsd.conf                       with a configuration file; all options are in docs/options.md
  natsd -c natsd.conf -t                    check that file
  natsd --signal reload=/run/natsd.pid      make the running server read its file again
`)
	return b.String()
}

// text is the line about a flag: its own, or that of its option with the default.
func (f flagRow) text() string {
	if f.doc != "" {
		return f.doc
	}
	o := find(f.option)
	text := strings.ReplaceAll(o.Doc, "`", "")
	if o.Range != "" {
		text += "; " + strings.ReplaceAll(o.Range, "`", "")
	}
	if o.Default != "" && o.Default != "false" && o.Default != "0" {
		text += " (default " + strings.Trim(strings.ReplaceAll(o.Default, "`", ""), `"`) + ")"
	}
	return text
}

// find returns the option at a path such as cluster.routes; it must exist.
func find(path string) documented {
	docs := top.documentedWith(Default())
	var found documented
	for name := range strings.SplitSeq(path, ".") {
		ok := false
		for _, d := range docs {
			if d.Name == name {
				found, ok = d, true
			}
		}
		if !ok {
			panic("no option " + path)
		}
		if found.block != nil {
			docs = defaultsOf(found.block)
		}
	}
	return found
}

// defaultsOf returns the options of a block with their defaults.
func defaultsOf(b blockDoc) []documented {
	if t, ok := b.(*table[Options]); ok {
		return t.documentedWith(Default())
	}
	return b.options()
}

// UsageTLS is the text of --help_tls.
func UsageTLS() string {
	var b strings.Builder
	b.WriteString(`TLS is configured in the configuration file:

    tls {
      cert_file: "server-cert.pem"
      key_file:  "server-key.pem"
      ca_file:   "ca.pem"        # of client certificates
      verify:    true            # require them
      timeout:   2
      cipher_suites: [ "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" ]
      curve_preferences: [ "X25519" ]
    }

Cipher suites of TLS 1.2:
`)
	for _, s := range tls.CipherSuites() {
		fmt.Fprintf(&b, "    %s\n", s.Name)
	}
	b.WriteString("\nInsecure cipher suites, with allow_insecure_cipher_suites:\n")
	for _, s := range tls.InsecureCipherSuites() {
		fmt.Fprintf(&b, "    %s\n", s.Name)
	}
	b.WriteString("\nCurves, in the default order:\n")
	for _, c := range curves {
		fmt.Fprintf(&b, "    %s\n", c.name)
	}
	b.WriteString("\nOCSP: the options of a tls block, of ocsp and of ocsp_cache:\n\n")
	for _, block := range []struct {
		name string
		doc  blockDoc
	}{{"tls", tlsTable}, {"tls.ocsp_peer", ocspPeerTable}, {"ocsp", ocspTable}, {"ocsp_cache", ocspCacheTable}} {
		fmt.Fprintf(&b, "  %s\n", block.name)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, d := range block.doc.options() {
			fmt.Fprintf(w, "    %s\t%s\n", d.Name, strings.ReplaceAll(d.Doc, "`", ""))
		}
		w.Flush()
	}
	return b.String()
}

package auth

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
)

// fromCertificate finds the user that the client's certificate stands for. The
// first value that names a user allowed for the kind of connection wins: e-mail,
// DNS and URI alternative names, the subject compared by structure, the subject
// as text.
func (t *Table) fromCertificate(r *Request) *User {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	cert := r.TLS.PeerCertificates[0]
	byName := func(name string) *User {
		if u := t.users[name]; u != nil && u.allows(r.Type) {
			return u
		}
		return nil
	}
	var names []string
	names = append(names, cert.EmailAddresses...)
	names = append(names, cert.DNSNames...)
	for _, u := range cert.URIs {
		names = append(names, u.String())
	}
	for _, n := range names {
		if u := byName(n); u != nil {
			return u
		}
	}
	if subject, ok := rawDN(cert); ok {
		for _, exact := range []bool{true, false} {
			for _, d := range t.dns {
				if d.user.allows(r.Type) && d.dn.equal(subject, exact) {
					return d.user
				}
			}
		}
	}
	for _, n := range CertificateNames(cert) {
		if u := byName(n); u != nil {
			return u
		}
	}
	return nil
}

// CertificateNames are the subject's textual forms: RFC 2253 with the domain
// components appended in the certificate's order, and without them.
func CertificateNames(cert *x509.Certificate) []string {
	plain := cert.Subject.String()
	var dcs strings.Builder
	for _, a := range cert.Subject.Names {
		if a.Type.Equal(oidDC) {
			if s, ok := a.Value.(string); ok {
				dcs.WriteString(",DC=" + s)
			}
		}
	}
	// String renders attributes that it does not know by their number.
	if dcs.Len() == 0 {
		return []string{plain}
	}
	known := cert.Subject
	known.ExtraNames = nil
	known.Names = nil
	plain = known.ToRDNSequence().String()
	return []string{plain + dcs.String(), plain}
}

var oidDC = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}

var attributeTypes = map[string]asn1.ObjectIdentifier{
	"CN":           {2, 5, 4, 3},
	"SERIALNUMBER": {2, 5, 4, 5},
	"C":            {2, 5, 4, 6},
	"L":            {2, 5, 4, 7},
	"ST":           {2, 5, 4, 8},
	"STREET":       {2, 5, 4, 9},
	"O":            {2, 5, 4, 10},
	"OU":           {2, 5, 4, 11},
	"POSTALCODE":   {2, 5, 4, 17},
	"DC":           oidDC,
	"UID":          {0, 9, 2342, 19200300, 100, 1, 1},
}

// distinguishedName is a sequence of RDNs in the order of the text (most
// specific first); each is a sorted set of "oid=value".
type distinguishedName [][]string

type dnUser struct {
	dn   distinguishedName
	user *User
}

// equal compares in order, or as sets of RDNs.
func (d distinguishedName) equal(o distinguishedName, exact bool) bool {
	if len(d) != len(o) {
		return false
	}
	flat := func(d distinguishedName) []string {
		s := make([]string, len(d))
		for i, r := range d {
			s[i] = strings.Join(r, "\x00")
		}
		if !exact {
			slices.Sort(s)
		}
		return s
	}
	return slices.Equal(flat(d), flat(o))
}

// rawDN takes the subject of a certificate apart.
func rawDN(cert *x509.Certificate) (distinguishedName, bool) {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &seq); err != nil || len(rest) > 0 || len(seq) == 0 {
		return nil, false
	}
	var d distinguishedName
	for i := len(seq) - 1; i >= 0; i-- {
		var set []string
		for _, a := range seq[i] {
			v, ok := a.Value.(string)
			if !ok {
				return nil, false
			}
			set = append(set, a.Type.String()+"="+v)
		}
		slices.Sort(set)
		d = append(d, set)
	}
	return d, true
}

// parseDN reads an LDAP distinguished name (RFC 4514).
func parseDN(s string) (distinguishedName, bool) {
	if !strings.Contains(s, "=") {
		return nil, false
	}
	var d distinguishedName
	var set []string
	for {
		eq := strings.IndexByte(s, '=')
		if eq < 0 {
			return nil, false
		}
		oid, ok := attributeType(strings.TrimSpace(s[:eq]))
		if !ok {
			return nil, false
		}
		value, sep, rest, ok := dnValue(s[eq+1:])
		if !ok {
			return nil, false
		}
		set = append(set, oid+"="+value)
		if sep != '+' {
			slices.Sort(set)
			d = append(d, set)
			set = nil
		}
		if sep == 0 {
			return d, true
		}
		s = rest
	}
}

func attributeType(name string) (string, bool) {
	if t, ok := attributeTypes[strings.ToUpper(name)]; ok {
		return t.String(), true
	}
	if name == "" {
		return "", false
	}
	for _, c := range name {
		if c != '.' && (c < '0' || c > '9') {
			return "", false
		}
	}
	return name, true
}

// dnValue reads an attribute value up to a separator: ',' or ';' end the RDN,
// '+' goes on in it, 0 is the end.
func dnValue(s string) (value string, sep byte, rest string, ok bool) {
	var b bytes.Buffer
	keep := 0 // length up to which trailing blanks are escaped
	s = strings.TrimLeft(s, " ")
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i+2 < len(s) {
				if raw, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
					b.Write(raw)
					keep = b.Len()
					i += 2
					continue
				}
			}
			if i+1 >= len(s) {
				return "", 0, "", false
			}
			i++
			b.WriteByte(s[i])
			keep = b.Len()
		case ',', ';', '+':
			if c == ';' {
				c = ','
			}
			return trimBlanks(b.Bytes(), keep), c, s[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return trimBlanks(b.Bytes(), keep), 0, "", true
}

func trimBlanks(b []byte, keep int) string {
	for len(b) > keep && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return string(b)
}

package client

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/natsd/natsd/server/account"
)

func appendQuoted(dst, b []byte) []byte { return strconv.AppendQuote(dst, string(b)) }

// RequestInfo is what events and services get to know about a connection. The
// order of the members is that on the wire.
type RequestInfo struct {
	Start      *time.Time    `json:"start,omitempty"`
	Host       string        `json:"host,omitempty"`
	ID         uint64        `json:"id,omitempty"`
	Account    string        `json:"acc,omitempty"`
	Service    string        `json:"svc,omitempty"`
	User       string        `json:"user,omitempty"`
	Name       string        `json:"name,omitempty"`
	Lang       string        `json:"lang,omitempty"`
	Version    string        `json:"ver,omitempty"`
	RTT        time.Duration `json:"rtt,omitempty"`
	Server     string        `json:"server,omitempty"`
	Cluster    string        `json:"cluster,omitempty"`
	Alternates []string      `json:"alts,omitempty"`
	Stop       *time.Time    `json:"stop,omitempty"`
	JWT        string        `json:"jwt,omitempty"`
	IssuerKey  string        `json:"issuer_key,omitempty"`
	NameTag    string        `json:"name_tag,omitempty"`
	Tags       []string      `json:"tags,omitempty"`
	Kind       string        `json:"kind,omitempty"`
	ClientType string        `json:"client_type,omitempty"`
	MQTTClient string        `json:"client_id,omitempty"`
	Nonce      string        `json:"nonce,omitempty"`
}

// Info is all that is known about the connection.
func (c *Client) Info() RequestInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	start := c.start.UTC()
	host, _ := peerAddr(c.addr)
	i := RequestInfo{
		Start: &start, Host: host, ID: c.id, Account: c.bound.Load().acc.Name(),
		User: c.user(), Name: c.opts.Name, Lang: c.opts.Lang, Version: c.opts.Version, RTT: c.ping.rtt,
		Kind: c.Kind().String(), ClientType: c.typ.String(),
	}
	if c.ident.Form == "nkey" {
		i.IssuerKey = i.Account
	}
	if cl := c.ident.Claims; cl != nil {
		i.User, i.IssuerKey, i.NameTag, i.Tags = cl.Key, cl.Issuer, cl.Name, cl.Tags
		if !cl.Bearer { // whoever has a bearer token can log in
			i.JWT = cl.JWT
		}
	}
	if !c.stop.IsZero() {
		stop := c.stop.UTC()
		i.Stop = &stop
	}
	return i
}

// user is who the connection belongs to or, if it did not log in, says it does; mu is held. Secrets are not shown.
func (c *Client) user() string {
	switch o := &c.opts; {
	case c.ident.Label != "":
		return c.ident.Label
	case o.NKey != "":
		return o.NKey
	case o.User != "":
		return o.User
	case o.Token != "":
		return "[REDACTED]"
	}
	return ""
}

// appendJSON appends s as a JSON string.
func appendJSON(dst []byte, s string) []byte {
	b, _ := json.Marshal(s) // a string: it cannot fail
	return append(dst, b...)
}

// AppendRequestInfo implements account.Requester.
func (c *Client) AppendRequestInfo(dst []byte, share bool, svc string, to *account.Account) []byte {
	system := to == c.host.SystemAccount()
	if share {
		i := c.Info()
		i.Service = svc
		i.Server, i.Cluster = c.host.ServerName(), c.host.ClusterName()
		b, err := json.Marshal(i)
		if err != nil {
			return append(dst, "{}"...)
		}
		return append(dst, b...)
	}
	dst = append(dst, `{"acc":`...)
	dst = append(dst, c.Account().QuotedName()...)
	if svc != "" {
		dst = append(dst, `,"svc":`...)
		dst = appendJSON(dst, svc)
	}
	if rtt := c.RTT(); rtt > 0 {
		dst = append(dst, `,"rtt":`...)
		dst = strconv.AppendInt(dst, int64(rtt), 10)
	}
	if system {
		dst = append(dst, `,"server":`...)
		dst = appendJSON(dst, c.host.ServerName())
		if n := c.host.ClusterName(); n != "" {
			dst = append(dst, `,"cluster":`...)
			dst = appendJSON(dst, n)
		}
	}
	return append(dst, '}')
}

package monitor

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/options"
)

// defaultLimit is how many entries a page has unless the request says otherwise.
const defaultLimit = 1024

// ConnState selects connections; over NATS it is a number.
type ConnState int

const (
	ConnOpen ConnState = iota
	ConnClosed
	ConnAll
)

// Subscriptions says what is wanted of subscriptions.
type Subscriptions struct {
	List   bool `json:"subscriptions"`
	Detail bool `json:"subscriptions_detail"` // wins
}

func (s Subscriptions) wanted() bool { return s.List || s.Detail }

// ConnzOptions select and order connections.
type ConnzOptions struct {
	Sort string `json:"sort"`
	Auth bool   `json:"auth"`
	Subscriptions
	Offset        int       `json:"offset"`
	Limit         int       `json:"limit"`
	CID           uint64    `json:"cid"`
	State         ConnState `json:"state"`
	User          string    `json:"user"`
	Account       string    `json:"acc"`
	MQTTClient    string    `json:"mqtt_client"`
	FilterSubject string    `json:"filter_subject"`
}

func (o *ConnzOptions) limit(account string) { o.Account = account }

func connzQuery(q *query) ConnzOptions {
	return ConnzOptions{
		Sort: q.string("sort"), Auth: q.bool("auth"), Subscriptions: q.subs("subs"),
		Offset: q.int("offset"), Limit: q.int("limit"), CID: q.uint64("cid"), State: q.state("state"),
		User: q.string("user"), Account: q.string("acc"), MQTTClient: q.string("mqtt_client"),
	}
}

// Connz is the document about connections.
type Connz struct {
	ID       string     `json:"server_id"`
	Now      time.Time  `json:"now"`
	NumConns int        `json:"num_connections"`
	Total    int        `json:"total"`
	Offset   int        `json:"offset"`
	Limit    int        `json:"limit"`
	Conns    []ConnInfo `json:"connections"`
}

// ConnInfo is a connection.
type ConnInfo struct {
	CID            uint64      `json:"cid"`
	Kind           string      `json:"kind,omitempty"`
	Type           string      `json:"type,omitempty"`
	IP             string      `json:"ip"`
	Port           int         `json:"port"`
	Start          time.Time   `json:"start"`
	LastActivity   time.Time   `json:"last_activity"`
	Stop           *time.Time  `json:"stop,omitempty"`
	Reason         string      `json:"reason,omitempty"`
	RTT            string      `json:"rtt,omitempty"`
	Uptime         string      `json:"uptime"`
	Idle           string      `json:"idle"`
	Pending        int64       `json:"pending_bytes"`
	InMsgs         int64       `json:"in_msgs"`
	OutMsgs        int64       `json:"out_msgs"`
	InBytes        int64       `json:"in_bytes"`
	OutBytes       int64       `json:"out_bytes"`
	Stalls         int64       `json:"stalls,omitempty"`
	NumSubs        int         `json:"subscriptions"`
	Name           string      `json:"name,omitempty"`
	Lang           string      `json:"lang,omitempty"`
	Version        string      `json:"version,omitempty"`
	TLSVersion     string      `json:"tls_version,omitempty"`
	TLSCipher      string      `json:"tls_cipher_suite,omitempty"`
	TLSPeerCerts   []PeerCert  `json:"tls_peer_certs,omitempty"`
	TLSFirst       bool        `json:"tls_first,omitempty"`
	AuthorizedUser string      `json:"authorized_user,omitempty"`
	Account        string      `json:"account,omitempty"`
	Subs           []string    `json:"subscriptions_list,omitempty"`
	SubsDetail     []SubDetail `json:"subscriptions_list_detail,omitempty"`
	JWT            string      `json:"jwt,omitempty"`
	IssuerKey      string      `json:"issuer_key,omitempty"`
	NameTag        string      `json:"name_tag,omitempty"`
	Tags           []string    `json:"tags,omitempty"`
	MQTTClient     string      `json:"mqtt_client,omitempty"`
	Proxy          *ProxyKey   `json:"proxy,omitempty"`
}

// PeerCert is a certificate that the other side showed.
type PeerCert struct {
	Subject string `json:"subject,omitempty"`
	SPKI    string `json:"spki_sha256,omitempty"`
	Cert    string `json:"cert_sha256,omitempty"`
}

// SubDetail is a subscription.
type SubDetail struct {
	Account    string `json:"account,omitempty"`
	AccountTag string `json:"account_tag,omitempty"`
	Subject    string `json:"subject"`
	Queue      string `json:"qgroup,omitempty"`
	SID        string `json:"sid"`
	Msgs       int64  `json:"msgs"`
	Max        int64  `json:"max,omitempty"`
	CID        uint64 `json:"cid"`
}

// connRow is a connection that may be listed. Of open ones the snapshot is made as late as possible.
type connRow struct {
	id   uint64
	conn Conn // nil: closed
	snap *client.Snapshot
}

func (r *connRow) snapshot() *client.Snapshot {
	if r.snap == nil {
		s := r.conn.Snapshot(false)
		r.snap = &s
	}
	return r.snap
}

// end is the time that a connection's times are counted to.
func (r *connRow) end(now time.Time) time.Time {
	if s := r.snapshot(); !s.Stop.IsZero() {
		return s.Stop
	}
	return now
}

// connOrders are the orders that need more than the number; ties go by the number.
var connOrders = map[string]func(now time.Time) func(a, b *connRow) int{
	"subs":       descending(func(r *connRow) int64 { return int64(r.snapshot().NumSubs) }),
	"pending":    descending(func(r *connRow) int64 { return r.snapshot().Pending }),
	"msgs_to":    descending(func(r *connRow) int64 { return r.snapshot().OutMsgs }),
	"msgs_from":  descending(func(r *connRow) int64 { return r.snapshot().InMsgs }),
	"bytes_to":   descending(func(r *connRow) int64 { return r.snapshot().OutBytes }),
	"bytes_from": descending(func(r *connRow) int64 { return r.snapshot().InBytes }),
	"last":       descending(func(r *connRow) int64 { return r.snapshot().LastActivity.UnixNano() }),
	"rtt":        descending(func(r *connRow) int64 { return int64(r.snapshot().RTT) }),
	"stop":       descending(func(r *connRow) int64 { return r.snapshot().Stop.UnixNano() }),
	"idle": func(now time.Time) func(a, b *connRow) int {
		idle := func(r *connRow) time.Duration { return r.end(now).Sub(r.snapshot().LastActivity) }
		return func(a, b *connRow) int { return cmp.Compare(idle(b), idle(a)) }
	},
	"uptime": func(now time.Time) func(a, b *connRow) int {
		up := func(r *connRow) time.Duration { return r.end(now).Sub(r.snapshot().Start) }
		return func(a, b *connRow) int { return cmp.Compare(up(a), up(b)) }
	},
	"reason": func(time.Time) func(a, b *connRow) int {
		return func(a, b *connRow) int {
			return cmp.Compare(a.snapshot().Reason.String(), b.snapshot().Reason.String())
		}
	},
}

func descending(key func(*connRow) int64) func(time.Time) func(a, b *connRow) int {
	return func(time.Time) func(a, b *connRow) int {
		return func(a, b *connRow) int { return cmp.Compare(key(b), key(a)) }
	}
}

func (o *ConnzOptions) check() error {
	switch o.Sort {
	case "", "cid", "start":
	case "stop", "reason":
		if o.State != ConnClosed {
			return fmt.Errorf("sort by %s only valid on closed connections", o.Sort)
		}
	default:
		if connOrders[o.Sort] == nil {
			return fmt.Errorf("invalid sorting option: %s", o.Sort)
		}
	}
	if o.FilterSubject != "" && o.Account == "" {
		return errors.New("filter by subject only valid with account filtering")
	}
	return nil
}

func (m *Monitor) connz(o *ConnzOptions) (any, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	now := m.now()
	doc := &Connz{ID: m.src.ID(), Now: now, Offset: max(o.Offset, 0), Limit: o.Limit, Conns: []ConnInfo{}}
	if doc.Limit <= 0 {
		doc.Limit = defaultLimit
	}
	rows := m.selectConns(o)
	doc.Total = len(rows)
	if o.CID != 0 {
		doc.Limit = 1
		rows = keep(rows, func(r *connRow) bool { return r.id == o.CID && !(r.conn != nil && isLeaf(r.conn)) })
	}
	if o.User != "" {
		rows = keep(rows, func(r *connRow) bool { return r.snapshot().Info.User == o.User })
	}
	if o.MQTTClient != "" {
		rows = keep(rows, func(r *connRow) bool { return r.snapshot().Info.MQTTClient == o.MQTTClient })
	}
	if o.FilterSubject != "" {
		subscribers := m.subscribers(o.Account, o.FilterSubject)
		rows = keep(rows, func(r *connRow) bool { return r.conn != nil && subscribers[r.id] })
	}
	slices.SortFunc(rows, func(a, b connRow) int { return cmp.Compare(a.id, b.id) })
	if order := connOrders[o.Sort]; order != nil {
		less := order(now)
		slices.SortStableFunc(rows, func(a, b connRow) int { return less(&a, &b) })
	}
	rows = page(rows, doc.Offset, doc.Limit)
	for i := range rows {
		doc.Conns = append(doc.Conns, m.connInfo(&rows[i], o, now))
	}
	doc.NumConns = len(doc.Conns)
	return doc, nil
}

// selectConns are the connections in the states and the account that are asked for.
func (m *Monitor) selectConns(o *ConnzOptions) []connRow {
	var rows []connRow
	if o.State != ConnClosed {
		for _, c := range m.src.Conns() {
			if o.Account == "" || c.Account().Name() == o.Account {
				rows = append(rows, connRow{id: c.ID(), conn: c})
			}
		}
	}
	if o.State != ConnOpen {
		closed := m.src.Closed()
		for i := range closed {
			if s := &closed[i]; o.Account == "" || s.Info.Account == o.Account {
				rows = append(rows, connRow{id: s.Info.ID, snap: s})
			}
		}
	}
	// The orders by more than a number look at each row many times.
	if connOrders[o.Sort] != nil {
		for i := range rows {
			rows[i].snapshot()
		}
	}
	return rows
}

// subscribers are the numbers of the connections that have a subscription in an account that overlaps with subject.
func (m *Monitor) subscribers(name, subject string) map[uint64]bool {
	ids := map[uint64]bool{}
	if a := m.src.Accounts().Get(name); a != nil {
		for _, s := range a.List().ReverseMatch(subject) {
			ids[subscriber(s.Value)] = true
		}
	}
	return ids
}

// subscriber is the number of the connection that a subscription delivers to, 0 inside the server.
func subscriber(s *account.Sub) uint64 {
	if c, ok := s.To.(interface{ ID() uint64 }); ok {
		return c.ID()
	}
	return 0
}

func isLeaf(c Conn) bool {
	r, ok := c.(account.Receiver)
	return ok && r.Kind() == account.Leafnode
}

func keep[T any](rows []T, wanted func(*T) bool) []T {
	out := rows[:0]
	for i := range rows {
		if wanted(&rows[i]) {
			out = append(out, rows[i])
		}
	}
	return out
}

// page cuts out the entries from offset on, at most limit.
func page[T any](rows []T, offset, limit int) []T {
	rows = rows[min(max(offset, 0), len(rows)):]
	return rows[:min(limit, len(rows))]
}

func (m *Monitor) connInfo(r *connRow, o *ConnzOptions, now time.Time) ConnInfo {
	s := r.snap
	if r.conn != nil && (s == nil || o.wanted()) {
		fresh := r.conn.Snapshot(o.wanted())
		s = &fresh
	}
	if r.conn != nil && s.RTT == 0 {
		r.conn.MeasureRTT()
	}
	end := now
	c := ConnInfo{
		CID: s.Info.ID, Kind: s.Info.Kind, Type: s.Info.ClientType, IP: s.Info.Host, Port: s.Port,
		Start: s.Start, LastActivity: s.LastActivity, RTT: roundTrip(s.RTT), Pending: s.Pending,
		InMsgs: s.InMsgs, OutMsgs: s.OutMsgs, InBytes: s.InBytes, OutBytes: s.OutBytes, Stalls: s.Stalls, NumSubs: s.NumSubs,
		Name: s.Info.Name, Lang: s.Info.Lang, Version: s.Info.Version, MQTTClient: s.Info.MQTTClient, TLSFirst: s.TLSFirst,
	}
	if r.conn == nil {
		end = s.Stop
		c.Stop, c.Reason = &s.Stop, s.Reason.String()
	}
	c.Uptime, c.Idle = uptime(end.Sub(s.Start)), uptime(end.Sub(s.LastActivity))
	if k := s.Identity.ProxyKey; k != "" {
		c.Proxy = &ProxyKey{k}
	}
	if t := s.TLS; t != nil {
		c.TLSVersion, c.TLSCipher = tlsVersion(t.Version), tls.CipherSuiteName(t.CipherSuite)
	}
	if o.Auth {
		m.addAuth(&c, s)
	}
	switch {
	case o.Detail:
		for _, sub := range s.Subs {
			d := SubDetail{Subject: sub.Subject, Queue: sub.Queue, SID: sub.SID, Msgs: sub.Delivered, Max: sub.Max, CID: c.CID}
			if r.conn == nil {
				d.Account, d.AccountTag = s.Info.Account, m.src.Tag(s.Account)
			}
			c.SubsDetail = append(c.SubsDetail, d)
		}
	case o.List:
		for _, sub := range s.Subs {
			c.Subs = append(c.Subs, sub.Subject)
		}
	}
	return c
}

// addAuth tells who the connection belongs to.
func (m *Monitor) addAuth(c *ConnInfo, s *client.Snapshot) {
	c.AuthorizedUser = s.Info.User
	if s.Info.Account != options.GlobalAccount {
		c.Account = s.Info.Account
	}
	c.JWT, c.IssuerKey, c.Tags = s.Info.JWT, s.Info.IssuerKey, s.Info.Tags
	c.NameTag = m.src.Tag(s.Account)
	if s.TLS == nil {
		return
	}
	for _, cert := range s.TLS.PeerCertificates {
		key, whole := sha256.Sum256(cert.RawSubjectPublicKeyInfo), sha256.Sum256(cert.Raw)
		c.TLSPeerCerts = append(c.TLSPeerCerts, PeerCert{cert.Subject.String(), hex.EncodeToString(key[:]), hex.EncodeToString(whole[:])})
	}
}

package operator

import (
	"maps"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/subjecttree"
)

// Limits of the account's connections.
func (a *Account) Limits() account.Limits {
	l := &a.Claims.Limits
	return account.Limits{MaxConnections: l.Conn, MaxSubscriptions: l.Subs, MaxPayload: l.Payload, MaxLeafNodes: l.LeafNodeConn}
}

// JetStream is what the account may store, nil for nothing.
func (a *Account) JetStream() *options.AccountJetStream {
	limits := a.Claims.Limits.JetStreamLimits
	owner := a.Claims.ClusterTraffic == jwt.ClusterTraffic("owner")
	if limits.MemoryStorage != 0 || limits.DiskStorage != 0 {
		l := jetStreamLimits(limits)
		l.TrafficOfOwner = owner
		return &l
	}
	if len(a.Claims.Limits.JetStreamTieredLimits) == 0 {
		return nil
	}
	l := options.AccountJetStream{TrafficOfOwner: owner, Tiers: make(map[string]options.AccountJetStream)}
	for name, t := range a.Claims.Limits.JetStreamTieredLimits {
		l.Tiers[name] = jetStreamLimits(t)
	}
	return &l
}

func jetStreamLimits(l jwt.JetStreamLimits) options.AccountJetStream {
	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	return options.AccountJetStream{
		MaxMemory: l.MemoryStorage, MaxStore: l.DiskStorage, MaxStreams: unlimited(l.Streams), MaxConsumers: unlimited(l.Consumer),
		MaxAckPending: unlimited(l.MaxAckPending), MemoryMaxStreamBytes: unlimited(l.MemoryMaxStreamBytes),
		StoreMaxStreamBytes: unlimited(l.DiskMaxStreamBytes), MaxBytesRequired: l.MaxBytesRequired,
	}
}

// Exports are what the account offers, in the order of its claims.
func (a *Account) Exports() []*account.Export {
	out := make([]*account.Export, 0, len(a.Claims.Exports))
	for _, e := range a.Claims.Exports {
		x := &account.Export{
			Service: e.IsService(), Subject: string(e.Subject), TokenPosition: int(e.AccountTokenPosition),
			Threshold: e.ResponseThreshold, AllowTrace: e.AllowTrace, TokenRequired: e.TokenReq,
		}
		for key, at := range e.Revocations {
			if x.Revocations == nil {
				x.Revocations = make(map[string]time.Time, len(e.Revocations))
			}
			x.Revocations[key] = time.Unix(at, 0).UTC()
		}
		switch e.ResponseType {
		case jwt.ResponseTypeStream:
			x.Response = account.Streamed
		case jwt.ResponseTypeChunked:
			x.Response = account.Chunked
		}
		if l := e.Latency; l != nil {
			x.Latency = &account.Latency{Subject: string(l.Results), Sampling: int(l.Sampling)}
		}
		out = append(out, x)
	}
	return out
}

// Mappings are the account's subject mappings for servers of a cluster.
func (a *Account) Mappings(cluster string) (*subjecttree.Mappings, error) {
	var all []*subjecttree.Mapping
	// The claims are a map: the order of overlapping patterns is that of their text.
	for _, subject := range slices.Sorted(maps.Keys(a.Claims.Mappings)) {
		var list []subjecttree.Destination
		for _, d := range a.Claims.Mappings[subject] {
			list = append(list, subjecttree.Destination{Subject: string(d.Subject), Weight: d.GetWeight(), Cluster: d.Cluster})
		}
		m, err := subjecttree.NewMapping(string(subject), list...)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return subjecttree.NewMappings(cluster, all...), nil
}

// Trace is the destination of message traces, nil for none.
func (a *Account) Trace() *account.Trace {
	t := a.Claims.Trace
	if t == nil || !subjecttree.ValidPublish(string(t.Destination)) {
		return nil
	}
	sampling := t.Sampling
	if sampling < 1 || sampling > 100 {
		sampling = 100
	}
	return &account.Trace{Destination: string(t.Destination), Sampling: sampling}
}

// Import is an import of the claims as the router takes it: subjects seen from
// the exporting and from the importing account.
type Import struct {
	Service           bool
	Exporter          string
	Subject, Local    string
	Share, AllowTrace bool
	token             string
}

// Imports are what the account takes from others.
func (a *Account) Imports() []Import {
	out := make([]Import, 0, len(a.Claims.Imports))
	for _, i := range a.Claims.Imports {
		if i == nil {
			continue
		}
		x := Import{Service: i.IsService(), Exporter: i.Account, Subject: string(i.Subject), Local: string(i.LocalSubject), Share: i.Share, AllowTrace: i.AllowTrace, token: i.Token}
		//lint:ignore SA1019 old account JWTs have it
		to := string(i.To)
		switch {
		case x.Local != "":
		case to == "":
			x.Local = x.Subject
		case x.Service:
			// Here subject is the importer's, and "to" the exporter's.
			x.Subject, x.Local = to, string(i.Subject)
		default:
			x.Local = to + "." + x.Subject
		}
		out = append(out, x)
	}
	return out
}

// Authorizes tells whether the exporter allows an import, and until when (zero:
// without end). export is the index into Exports.
func (a *Account) Authorizes(importer string, imp *Import, now time.Time) (export int, until time.Time, ok bool) {
	found := -1
	for i, e := range a.Claims.Exports {
		if e.IsService() != imp.Service {
			continue
		}
		if string(e.Subject) == imp.Subject {
			found = i
			break
		}
		if found < 0 && subjecttree.Subset(imp.Subject, string(e.Subject)) {
			found = i
		}
	}
	if found < 0 {
		return 0, until, false
	}
	e := a.Claims.Exports[found]
	if p := int(e.AccountTokenPosition); p > 0 {
		if subjecttree.Token(imp.Subject, p-1) != importer {
			return 0, until, false
		}
	}
	if !e.TokenReq {
		return found, until, true
	}
	act, err := jwt.DecodeActivationClaims(imp.token)
	if err != nil {
		return 0, until, false
	}
	issuer := act.Issuer
	if act.IssuerAccount != "" {
		if act.IssuerAccount != a.Key() {
			return 0, until, false
		}
		if _, signs := a.Signer(issuer); !signs {
			return 0, until, false
		}
	} else if issuer != a.Key() {
		return 0, until, false
	}
	kind := jwt.Stream
	if imp.Service {
		kind = jwt.Service
	}
	switch {
	case act.Subject != importer,
		act.ImportType != kind,
		!subjecttree.Subset(imp.Subject, string(act.ImportSubject)),
		act.NotBefore != 0 && now.Unix() < act.NotBefore,
		act.Expires != 0 && now.Unix() >= act.Expires:
		return 0, until, false
	}
	for _, k := range []string{act.Subject, jwt.All} {
		if at, revoked := e.Revocations[k]; revoked && at >= act.IssuedAt {
			return 0, until, false
		}
	}
	if act.Expires != 0 {
		until = time.Unix(act.Expires, 0)
	}
	return found, until, true
}

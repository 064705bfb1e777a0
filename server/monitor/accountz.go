package monitor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/operator"
	"github.com/natsd/natsd/server/options"
	"github.com/natsd/natsd/subjecttree"
)

// AccountzOptions select an account.
type AccountzOptions struct {
	Account string `json:"account"`
}

func (o *AccountzOptions) limit(account string) { o.Account = account }

func accountzQuery(q *query) AccountzOptions { return AccountzOptions{Account: q.string("acc")} }

// Accountz is the document about accounts: their names, or one in detail.
type Accountz struct {
	ID            string         `json:"server_id"`
	Now           time.Time      `json:"now"`
	SystemAccount string         `json:"system_account,omitempty"`
	Accounts      []string       `json:"accounts,omitempty"`
	Detail        *AccountDetail `json:"account_detail,omitempty"`
}

// AccountDetail is an account.
type AccountDetail struct {
	Name             string                          `json:"account_name"`
	Updated          time.Time                       `json:"update_time"`
	IsSystem         bool                            `json:"is_system,omitempty"`
	Expired          bool                            `json:"expired"`
	Complete         bool                            `json:"complete"`
	JetStream        bool                            `json:"jetstream_enabled"`
	Leafs            int                             `json:"leafnode_connections"`
	Clients          int64                           `json:"client_connections"`
	Subscriptions    int                             `json:"subscriptions"`
	Mappings         map[string][]MappingDestination `json:"mappings,omitempty"`
	Exports          []ExportDetail                  `json:"exports,omitempty"`
	Imports          []ImportDetail                  `json:"imports,omitempty"`
	JWT              string                          `json:"jwt,omitempty"`
	IssuerKey        string                          `json:"issuer_key,omitempty"`
	NameTag          string                          `json:"name_tag,omitempty"`
	Tags             jwt.TagList                     `json:"tags,omitempty"`
	Claims           *jwt.AccountClaims              `json:"decoded_jwt,omitempty"`
	ValidationResult []ValidationIssue               `json:"validation_result_jwt,omitempty"`
	RevokedUsers     map[string]time.Time            `json:"revoked_user,omitempty"`
	Sublist          *subjecttree.Stats              `json:"sublist_stats,omitempty"`
	Responses        map[string]ImportDetail         `json:"responses,omitempty"`
}

// MappingDestination is one destination of a mapping. Weights are cumulative.
type MappingDestination struct {
	Subject string `json:"subject"`
	Weight  int    `json:"weight"`
	Cluster string `json:"cluster,omitempty"`
}

// ExportDetail is an export.
type ExportDetail struct {
	Subject            string               `json:"subject"`
	Type               string               `json:"type"`
	TokenRequired      bool                 `json:"token_req,omitempty"`
	Response           string               `json:"response_type,omitempty"`
	ResponseThreshold  time.Duration        `json:"response_threshold,omitempty"`
	Latency            *LatencyDetail       `json:"service_latency,omitempty"`
	TokenPosition      int                  `json:"account_token_position,omitempty"`
	AllowTrace         bool                 `json:"allow_trace,omitempty"`
	ApprovedAccounts   []string             `json:"approved_accounts,omitempty"`
	RevokedActivations map[string]time.Time `json:"revoked_activations,omitempty"`
}

// LatencyDetail says where latencies are published; sampling is a percentage or the word "headers".
type LatencyDetail struct {
	Sampling any    `json:"sampling"`
	Results  string `json:"results"`
}

// ImportDetail is an import.
type ImportDetail struct {
	Subject        string              `json:"subject,omitempty"`
	Account        string              `json:"account,omitempty"`
	To             string              `json:"to,omitempty"`
	LocalSubject   string              `json:"local_subject,omitempty"`
	Type           string              `json:"type,omitempty"`
	Invalid        bool                `json:"invalid"`
	Share          bool                `json:"share"`
	Tracking       bool                `json:"tracking"`
	TrackingHeader map[string][]string `json:"tracking_header,omitempty"`
	Latency        *LatencyDetail      `json:"latency,omitempty"`
	M1             json.RawMessage     `json:"m1,omitempty"`
}

// ValidationIssue is what was found in a JWT.
type ValidationIssue struct {
	Description string `json:"description"`
	Blocking    bool   `json:"blocking"`
	TimeCheck   bool   `json:"time_check"`
}

const (
	serviceType = "service"
	streamType  = "stream"
)

func (m *Monitor) accountz(o *AccountzOptions) (any, error) {
	doc := &Accountz{ID: m.src.ID(), Now: m.now(), SystemAccount: m.systemName()}
	if o.Account == "" {
		for _, a := range m.accounts() {
			doc.Accounts = append(doc.Accounts, a.Name())
		}
		return doc, nil
	}
	var err error
	doc.Detail, err = m.accountDetail(o.Account)
	return doc, err
}

// accountInfo is the document about one account.
func (m *Monitor) accountInfo(o *AccountzOptions) (any, error) { return m.accountDetail(o.Account) }

func (m *Monitor) accountDetail(name string) (*AccountDetail, error) {
	a := m.src.Accounts().Get(name)
	if a == nil {
		return nil, fmt.Errorf("Account %s does not exist", name)
	}
	stats := a.List().Stats()
	d := &AccountDetail{
		Name: name, Updated: m.src.ConfigTime().UTC(), IsSystem: a == m.src.SystemAccount(), Complete: true,
		JetStream: m.jetStreamEnabled(a), Leafs: m.leafs(a), Clients: a.Clients(), Subscriptions: a.List().Len(),
		Mappings: m.mappings(name), NameTag: m.src.Tag(a), Sublist: &stats,
	}
	claims, complete, expired := m.src.AccountClaims(name)
	d.Complete, d.Expired = complete, expired
	if claims != nil {
		d.Updated = claims.Opened.UTC()
		if claims.JWT != "" {
			d.claims(claims)
		}
	}
	c := a.Config()
	for _, e := range c.Exports {
		d.Exports = append(d.Exports, exportDetail(e))
	}
	for _, i := range c.Services {
		d.Imports = append(d.Imports, serviceDetail(i))
	}
	for _, i := range c.Streams {
		d.Imports = append(d.Imports, ImportDetail{
			Subject: wildcards(i.Subject), Account: i.Exporter.Name(), LocalSubject: wildcards(i.Local), Type: streamType,
		})
	}
	for _, r := range a.Responses(defaultLimit) {
		if d.Responses == nil {
			d.Responses = map[string]ImportDetail{}
		}
		d.Responses[r.Subject] = ImportDetail{
			Subject: r.Reply, Account: r.Import.Importer.Name(), To: r.Subject, LocalSubject: r.Subject, Type: serviceType,
			Share: r.Import.Share, Tracking: r.Measured, Latency: importLatency(r.Import),
		}
	}
	return d, nil
}

// claims adds what the account's JWT says.
func (d *AccountDetail) claims(a *operator.Account) {
	c := a.Claims
	d.Mappings = claimedMappings(c.Mappings)
	d.JWT, d.Claims, d.IssuerKey, d.NameTag, d.Tags = a.JWT, c, c.Issuer, c.Name, c.Tags
	vr := jwt.CreateValidationResults()
	c.Validate(vr)
	for _, i := range vr.Issues {
		d.ValidationResult = append(d.ValidationResult, ValidationIssue(*i))
	}
	for user, at := range c.Revocations {
		if d.RevokedUsers == nil {
			d.RevokedUsers = map[string]time.Time{}
		}
		d.RevokedUsers[user] = time.Unix(at, 0).UTC()
	}
}

func exportDetail(e *account.Export) ExportDetail {
	d := ExportDetail{
		Subject: e.Subject, Type: streamType, TokenRequired: e.TokenRequired, TokenPosition: e.TokenPosition, AllowTrace: e.AllowTrace,
		RevokedActivations: e.Revocations,
	}
	if e.Accounts != nil {
		d.ApprovedAccounts = sortedKeys(e.Accounts)
	}
	if e.Service {
		d.Type = serviceType
		d.Response = [...]string{account.Singleton: "Singleton", account.Streamed: "Streamed", account.Chunked: "Chunked"}[e.Response]
		d.ResponseThreshold = e.Threshold
		d.Latency = latencyDetail(e.Latency)
	}
	return d
}

func serviceDetail(i *account.ServiceImport) ImportDetail {
	return ImportDetail{
		Subject: wildcards(i.Subject), Account: i.Exporter.Name(), To: wildcards(i.Local), LocalSubject: wildcards(i.Local), Type: serviceType,
		Share: i.Share, Latency: importLatency(i),
	}
}

func importLatency(i *account.ServiceImport) *LatencyDetail {
	if i.Export == nil {
		return nil
	}
	return latencyDetail(i.Export.Latency)
}

func latencyDetail(l *account.Latency) *LatencyDetail {
	switch {
	case l == nil:
		return nil
	case l.Sampling <= 0:
		return &LatencyDetail{"headers", l.Subject}
	}
	return &LatencyDetail{l.Sampling, l.Subject}
}

// wildcards shows the references to tokens in a subject as the wildcards that they stand for.
func wildcards(subject string) string {
	tokens := strings.Split(subject, ".")
	for i, t := range tokens {
		if len(t) > 1 && t[0] == '$' && strings.Trim(t[1:], "0123456789") == "" {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// mappings are those of an account, by source.
func (m *Monitor) mappings(name string) map[string][]MappingDestination {
	o := m.src.InUse()
	var list []options.Mapping
	if name == options.GlobalAccount {
		list = o.Mappings
	}
	for _, a := range o.Accounts {
		if a.Name == name && len(a.Mappings) > 0 {
			list = a.Mappings
		}
	}
	if len(list) == 0 {
		return nil
	}
	out := make(map[string][]MappingDestination, len(list))
	for _, mapping := range list {
		out[mapping.Subject] = destinations(&mapping)
	}
	return out
}

// claimedMappings are those of an account in operator mode, by source.
func claimedMappings(m jwt.Mapping) map[string][]MappingDestination {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string][]MappingDestination, len(m))
	for subject, list := range m {
		mapping := options.Mapping{Subject: string(subject)}
		for _, d := range list {
			mapping.Destinations = append(mapping.Destinations, options.MappingDestination{Subject: string(d.Subject), Weight: d.GetWeight(), Cluster: d.Cluster})
		}
		out[mapping.Subject] = destinations(&mapping)
	}
	return out
}

// destinations are those of a mapping, the lightest first, with cumulative weights in each cluster. What is left of 100
// percent stays with the source, unless that stands in the list.
func destinations(mapping *options.Mapping) []MappingDestination {
	sum := map[string]int{}
	listed := false
	for _, d := range mapping.Destinations {
		sum[d.Cluster] += int(d.Weight)
		listed = listed || d.Subject == mapping.Subject
	}
	all := slices.Clone(mapping.Destinations)
	for cluster, n := range sum {
		if n < 100 && !listed {
			all = append(all, options.MappingDestination{Subject: mapping.Subject, Weight: uint8(100 - n), Cluster: cluster})
		}
	}
	slices.SortStableFunc(all, func(a, b options.MappingDestination) int {
		if c := strings.Compare(a.Cluster, b.Cluster); c != 0 {
			return c
		}
		return int(a.Weight) - int(b.Weight)
	})
	out := make([]MappingDestination, 0, len(all))
	clear(sum)
	for _, d := range all {
		sum[d.Cluster] += int(d.Weight)
		out = append(out, MappingDestination{d.Subject, sum[d.Cluster], d.Cluster})
	}
	return out
}

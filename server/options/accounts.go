package options

import (
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/conf"
	"github.com/natsd/natsd/subjecttree"
)

// accountBlock is an account while it is read.
type accountBlock struct {
	*Account
	usersKey *conf.Entry
}

var accountTable = newTable("accounts",
	custom("nkey", "string", func(_ *reader, e *conf.Entry, a *accountBlock) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if !nkeys.IsValidPublicAccountKey(s) {
			return fmt.Errorf("Not a valid public nkey for an account: %q", s)
		}
		a.NKey = s
		return nil
	}).doc("public account key, for information"),
	custom("users", "list of blocks", func(r *reader, e *conf.Entry, a *accountBlock) (err error) {
		if a.Users, err = r.users(e); a.Users != nil {
			a.usersKey = e
		}
		return err
	}).of(userTable).doc("users of the account"),
	custom("default_permissions", "block", func(r *reader, e *conf.Entry, a *accountBlock) (err error) {
		a.DefaultPermissions, err = r.permissions(e)
		return err
	}).of(permissionsTable).since("2.2").doc("permissions of users that have none of their own"),
	custom("limits", "block", func(r *reader, e *conf.Entry, a *accountBlock) error {
		if e.Value.Kind != conf.Map {
			return fmt.Errorf("Expected account limits to be a map/struct, got %v", e.Value)
		}
		accountLimitsTable.read(r, e, &a.Limits)
		return nil
	}).of(accountLimitsTable).since("2.7").doc("limits of the account"),
	custom("jetstream", "boolean, string or block", readAccountJetStream).of(accountJetStreamTable).doc("streams and consumers of the account").def("off"),
	custom("exports", "list of blocks", func(r *reader, e *conf.Entry, a *accountBlock) (err error) {
		a.Exports, err = r.exports(e)
		return err
	}).of(exportTable).doc("streams and services for other accounts"),
	custom("imports", "list of blocks", func(r *reader, e *conf.Entry, a *accountBlock) (err error) {
		a.Imports, err = r.imports(e)
		return err
	}).of(importTable).doc("streams and services of other accounts"),
	custom("mappings", "block", func(r *reader, e *conf.Entry, a *accountBlock) (err error) {
		a.Mappings, err = r.mappings(e)
		return err
	}).alias("maps").of(mappingTable).doc("subject mappings of the account"),
	custom("msg_trace", "string or block", readMessageTrace).alias("trace_dest").of(messageTraceTable).since("2.11").
		doc("where traces of messages go that come with a trace context"),
)

var accountLimitsTable = func() *table[AccountLimits] {
	t := newTable("limits",
		integer("max_connections", func(l *AccountLimits) *int64 { return &l.MaxConnections }).alias("max_conn").doc("client connections").def("-1"),
		integer("max_subscriptions", func(l *AccountLimits) *int64 { return &l.MaxSubscriptions }).alias("max_subs").doc("subscriptions of a connection").def("-1"),
		integer("max_payload", func(l *AccountLimits) *int64 { return &l.MaxPayload }).alias("max_pay").doc("bytes of a message").def("-1"),
		integer("max_leafnodes", func(l *AccountLimits) *int64 { return &l.MaxLeafNodes }).alias("max_leafs").doc("leaf node connections").def("-1"),
	)
	t.unknown = "Unknown field %q parsing account limits"
	return t
}()

func readAccounts(r *reader, e *conf.Entry, o *Options) error {
	o.Accounts = nil
	r.accountUsers = false
	switch e.Value.Kind {
	case conf.Array:
		seen := make(map[string]bool)
		for _, v := range e.Value.Elems {
			name, err := asString(v)
			switch {
			case err != nil:
				return at(v, err)
			case name == GlobalAccount:
				r.errorf(v.Pos, "%q is a Reserved Account", name)
			case seen[name]:
				r.errorf(v.Pos, "Duplicate Account Entry: %s", name)
			default:
				seen[name] = true
				o.Accounts = append(o.Accounts, newAccount(name))
			}
		}
		return nil
	case conf.Map:
	default:
		return fmt.Errorf("Expected accounts to be an array or a map, got %s", e.Value.Kind)
	}
	for _, entry := range e.Value.Items {
		switch {
		case entry.Used:
		case entry.Key == GlobalAccount:
			r.errorf(entry.Pos, "%q is a Reserved Account", entry.Key)
		case entry.Value.Kind != conf.Map:
			r.errorf(entry.Pos, "Expected map entries for accounts")
		default:
			o.Accounts = append(o.Accounts, r.account(entry))
		}
	}
	if len(r.errors) > 0 {
		return nil
	}
	for _, err := range resolve(o) {
		r.add(e.Pos, err)
	}
	return nil
}

func newAccount(name string) *Account {
	return &Account{Name: name, Limits: AccountLimits{-1, -1, -1, -1}}
}

// account reads one account.
func (r *reader) account(e *conf.Entry) *Account {
	a := &accountBlock{Account: newAccount(e.Key)}
	accountTable.read(r, e, a)
	applyDefaults(a.Users, a.DefaultPermissions)
	if a.usersKey == nil {
		return a.Account
	}
	if len(a.Users) > 0 {
		r.accountUsers = true
	}
	switch pos := a.usersKey.Pos; {
	case r.singleUser:
		r.errorf(pos, "Can not have a single user/pass and accounts")
	case r.token:
		r.errorf(pos, "Can not have a token and accounts")
	default:
		r.claimNames(pos, a.Users)
	}
	return a.Account
}

// accountSize reads a number of the account's jetstream block.
func accountSize(name string, at func(*AccountJetStream) *int64) *row[AccountJetStream] {
	return custom(name, "integer", func(_ *reader, e *conf.Entry, j *AccountJetStream) error {
		if e.Value.Kind != conf.Int {
			return fmt.Errorf("Expected a parseable size for %q, got %v", e.Key, e.Value)
		}
		*at(j) = e.Value.Int
		return nil
	}).def("-1")
}

var accountJetStreamTable = stopping(newTable("jetstream",
	accountSize("max_memory", func(j *AccountJetStream) *int64 { return &j.MaxMemory }).alias("max_mem", "mem", "memory").doc("bytes in memory"),
	accountSize("max_store", func(j *AccountJetStream) *int64 { return &j.MaxStore }).alias("max_file", "max_disk", "store", "disk").doc("bytes in files"),
	accountSize("max_streams", func(j *AccountJetStream) *int64 { return &j.MaxStreams }).alias("streams").doc("streams"),
	accountSize("max_consumers", func(j *AccountJetStream) *int64 { return &j.MaxConsumers }).alias("consumers").doc("consumers"),
	accountSize("max_ack_pending", func(j *AccountJetStream) *int64 { return &j.MaxAckPending }).doc("unacknowledged messages of a consumer"),
	accountSize("mem_max_stream_bytes", func(j *AccountJetStream) *int64 { return &j.MemoryMaxStreamBytes }).alias("memory_max_stream_bytes").doc("bytes of a stream in memory"),
	accountSize("disk_max_stream_bytes", func(j *AccountJetStream) *int64 { return &j.StoreMaxStreamBytes }).alias("store_max_stream_bytes").doc("bytes of a stream in files"),
	custom("max_bytes_required", "boolean", func(_ *reader, e *conf.Entry, j *AccountJetStream) error {
		if e.Value.Kind != conf.Bool {
			return fmt.Errorf("Expected a parseable bool for %q, got %v", e.Key, e.Value)
		}
		j.MaxBytesRequired = e.Value.Bool
		return nil
	}).alias("max_stream_bytes", "max_bytes").doc("every stream must have a limit of bytes"),
	custom("cluster_traffic", "string", func(_ *reader, e *conf.Entry, j *AccountJetStream) error {
		switch v := e.Value.String(); {
		case e.Value.Kind == conf.String && v == "system":
			j.TrafficOfOwner = false
		case e.Value.Kind == conf.String && v == "owner":
			j.TrafficOfOwner = true
		default:
			return fmt.Errorf("Expected 'system' or 'owner' string value for %q, got %v", e.Key, e.Value)
		}
		return nil
	}).since("2.11").doc("account that carries the traffic of replicas: `system` or `owner`").def(`"system"`),
))

// unlimitedJetStream are the limits of an account that configures none.
func unlimitedJetStream() *AccountJetStream {
	return &AccountJetStream{
		MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1,
		MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}
}

func readAccountJetStream(r *reader, e *conf.Entry, a *accountBlock) error {
	a.JetStream = nil
	switch v := e.Value; v.Kind {
	case conf.Bool:
		if v.Bool {
			a.JetStream = unlimitedJetStream()
			a.JetStream.Dynamic = true
		}
	case conf.String:
		switch strings.ToLower(v.Str) {
		case "enabled", "enable":
			a.JetStream = unlimitedJetStream()
			a.JetStream.Dynamic = true
		case "disabled", "disable":
		default:
			return errPlain{fmt.Errorf("Expected 'enabled' or 'disabled' for string value, got '%s'", v.Str)}
		}
	case conf.Map:
		a.JetStream = unlimitedJetStream()
		accountJetStreamTable.read(r, e, a.JetStream)
	default:
		return errPlain{fmt.Errorf("Expected map, bool or string to define JetStream, got %s", v.Kind)}
	}
	return nil
}

// percent returns a number, or text that ends in a percent sign. Text is what stands before the sign.
func percent(v *conf.Value) (n int64, text string, err error) {
	switch v.Kind {
	case conf.Int:
		return v.Int, "", nil
	case conf.String:
		text = strings.TrimSuffix(v.Str, "%")
		if _, err = fmt.Sscanf(text+"\n", "%d\n", &n); err != nil {
			return 0, text, err
		}
		return n, text, nil
	}
	return 0, v.String(), errorText("no percentage")
}

var messageTraceTable = func() *table[MessageTrace] {
	t := newTable("msg_trace",
		custom("dest", "string", func(_ *reader, e *conf.Entry, m *MessageTrace) error {
			if e.Value.Kind != conf.String {
				return fmt.Errorf("Field %q should be a string, got %s", e.Key, e.Value.Kind)
			}
			m.Destination = e.Value.Str
			return checkTraceDestination(m.Destination)
		}).doc("subject"),
		custom("sampling", "percentage", func(_ *reader, e *conf.Entry, m *MessageTrace) error {
			n, _, err := percent(e.Value)
			switch {
			case err != nil && e.Value.Kind == conf.String:
				return fmt.Errorf("Invalid trace destination sampling value %q", e.Value.Str)
			case err != nil:
				return fmt.Errorf("Trace destination sampling field %q should be an integer or a percentage, got %s", e.Key, e.Value.Kind)
			case n < 1 || n > 100:
				return fmt.Errorf("Trace destination sampling value %d is invalid, needs to be [1..100]", n)
			}
			m.Sampling = int(n)
			return nil
		}).doc("share of messages that are traced").limits("1..100").def("100"),
	)
	t.unknown = `Unknown field %q parsing account message trace map/struct "msg_trace"`
	return t
}()

func checkTraceDestination(s string) error {
	if !subjecttree.ValidPublish(s) {
		return fmt.Errorf("Trace destination %q is not valid", s)
	}
	return nil
}

func readMessageTrace(r *reader, e *conf.Entry, a *accountBlock) error {
	m := &MessageTrace{Sampling: 100}
	switch e.Value.Kind {
	case conf.String:
		if err := checkTraceDestination(e.Value.Str); err != nil {
			return err
		}
		m.Destination = e.Value.Str
	case conf.Map:
		before := len(r.errors)
		messageTraceTable.read(r, e, m)
		if m.Destination == "" && len(r.errors) == before && hasKey(e.Value, "sampling") {
			r.warnf(e.Pos, "Trace destination sampling ignored since no destination was set")
		}
	default:
		return fmt.Errorf("Expected account message trace %q to be a string or a map/struct, got %s", e.Key, e.Value.Kind)
	}
	a.Trace = nil
	if m.Destination != "" {
		a.Trace = m
	}
	return nil
}

// hasKey tells whether a map has the key, in any case.
func hasKey(v *conf.Value, key string) bool {
	for _, e := range v.Items {
		if strings.EqualFold(e.Key, key) {
			return true
		}
	}
	return false
}

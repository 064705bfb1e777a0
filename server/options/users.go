package options

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/natsd/natsd/server/conf"
	"github.com/natsd/natsd/subjecttree"
)

var userTable = newTable("users",
	str("user", func(u *User) *string { return &u.Username }).alias("username").doc("name"),
	str("pass", func(u *User) *string { return &u.Password }).alias("password").secret().doc("password, plain or bcrypt"),
	custom("nkey", "string", func(_ *reader, e *conf.Entry, u *User) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		if s != "" && !nkeys.IsValidPublicUserKey(s) {
			return ending{errorText("Not a valid public nkey for a user")}
		}
		u.NKey = s
		return nil
	}).doc("public user key, in place of name and password"),
	custom("permissions", "block", func(r *reader, e *conf.Entry, u *User) (err error) {
		u.Permissions, err = r.permissions(e)
		return err
	}).alias("permission", "authorization").of(permissionsTable).doc("what the user may publish and subscribe to").def("everything"),
	custom("allowed_connection_types", "string or list", readConnectionTypes).alias("connection_types", "clients").since("2.2").
		doc("`STANDARD`, `WEBSOCKET`, `LEAFNODE`, `LEAFNODE_WS`, `MQTT`, `MQTT_WS`, `IN_PROCESS`").def("all"),
	boolean("proxy_required", func(u *User) *bool { return &u.ProxyRequired }).since("2.12").doc("the user must come through a trusted proxy"),
)

// users reads a list of users, up to the first one that is not to be understood. It is nil if there is such a one.
func (r *reader) users(e *conf.Entry) ([]*User, error) {
	if e.Value.Kind != conf.Array {
		return nil, fmt.Errorf("Expected users field to be an array, got %v", e.Value)
	}
	users := make([]*User, 0, len(e.Value.Elems))
	for _, v := range e.Value.Elems {
		if v.Kind != conf.Map {
			r.errorf(v.Pos, "Expected user entry to be a map/struct, got %v", v)
			continue
		}
		u := &User{}
		if userTable.read(r, &conf.Entry{Key: e.Key, Pos: e.Pos, Value: v}, u) == errEnded {
			return nil, nil
		}
		switch {
		case u.NKey == "" && u.Username == "":
			return nil, placed{errorText("User entry requires a user"), lastKey(v)}
		case u.NKey != "" && (u.Username != "" || u.Password != ""):
			return nil, placed{errorText("Nkey users do not take usernames or passwords"), lastKey(v)}
		}
		users = append(users, u)
	}
	return users, nil
}

// lastKey returns where errors about a whole map are reported.
func lastKey(v *conf.Value) conf.Pos {
	if n := len(v.Items); n > 0 {
		return v.Items[n-1].Pos
	}
	return v.Pos
}

// ConnectionTypes are the values of allowed_connection_types.
var ConnectionTypes = map[string]bool{
	"STANDARD": true, "WEBSOCKET": true, "LEAFNODE": true, "LEAFNODE_WS": true, "MQTT": true, "MQTT_WS": true, "IN_PROCESS": true,
}

func readConnectionTypes(_ *reader, e *conf.Entry, u *User) error {
	types, err := asStrings(e.Value, "allowed connection types")
	if err != nil {
		return err
	}
	var invalid []string
	u.ConnectionTypes = nil
	for _, t := range types {
		t = strings.ToUpper(t)
		if !ConnectionTypes[t] {
			invalid = append(invalid, t)
			continue
		}
		u.ConnectionTypes = append(u.ConnectionTypes, t)
	}
	if len(invalid) > 0 {
		return fmt.Errorf("invalid connection types %q", invalid)
	}
	return nil
}

var permissionsTable = func() *table[Permissions] {
	t := newTable("permissions",
		custom("publish", "string, list or block", func(r *reader, e *conf.Entry, p *Permissions) error {
			return r.subjectPermissions(e, &p.Publish, false)
		}).alias("pub", "import").of(subjectPermissionsTable).doc("subjects to publish to").def("all"),
		custom("subscribe", "string, list or block", func(r *reader, e *conf.Entry, p *Permissions) error {
			return r.subjectPermissions(e, &p.Subscribe, true)
		}).alias("sub", "export").of(subjectPermissionsTable).doc("subjects to subscribe to, alone or with a queue: `subject queue`").def("all"),
		custom("allow_responses", "boolean or block", readResponses).alias("publish_allow_responses").of(responsesTable).since("2.0.4").
			doc("publish to the reply subject of what was received; `true` is once within 2 minutes"),
	)
	t.unknown = "Unknown field %q parsing permissions"
	return t
}()

// permissions reads a permissions block.
func (r *reader) permissions(e *conf.Entry) (*Permissions, error) {
	if e.Value.Kind != conf.Map {
		return nil, fmt.Errorf("Expected permissions to be a map/struct, got %v", e.Value)
	}
	p := &Permissions{}
	permissionsTable.read(r, e, p)
	return p, nil
}

// subjectLists are the lists of a subject permission; queues tells that entries may have one.
type subjectLists struct {
	*SubjectPermissions
	queues bool
}

var subjectPermissionsTable = func() *table[subjectLists] {
	t := newTable("publish",
		custom("allow", "string or list", func(_ *reader, e *conf.Entry, l *subjectLists) (err error) {
			l.Allow, err = subjects(e.Value, l.queues)
			return err
		}).doc("allowed subjects; an empty list allows all"),
		custom("deny", "string or list", func(_ *reader, e *conf.Entry, l *subjectLists) (err error) {
			l.Deny, err = subjects(e.Value, l.queues)
			return err
		}).doc("refused subjects"),
	)
	t.unknown = "Unknown field name %q parsing subject permissions, only 'allow' or 'deny' are permitted"
	return t
}()

// subjectPermissions reads a subject, a list of subjects, or a block.
func (r *reader) subjectPermissions(e *conf.Entry, dst *SubjectPermissions, queues bool) error {
	*dst = SubjectPermissions{}
	if e.Value.Kind == conf.Map {
		subjectPermissionsTable.read(r, e, &subjectLists{dst, queues})
		return nil
	}
	list, err := subjects(e.Value, queues)
	if err != nil {
		return errPlain{err}
	}
	dst.Allow = list
	return nil
}

// subjects returns the subjects of a permission.
func subjects(v *conf.Value, queues bool) ([]string, error) {
	var list []string
	switch v.Kind {
	case conf.String:
		list = []string{v.Str}
	case conf.Array:
		list = []string{}
		for _, e := range v.Elems {
			if e.Kind != conf.String {
				return nil, at(e, errorText("Subject in permissions array cannot be cast to string"))
			}
			list = append(list, e.Str)
		}
	default:
		return nil, fmt.Errorf("Expected subject permissions to be a subject, or array of subjects, got %s", v.Kind)
	}
	for _, s := range list {
		if err := checkPermission(s, queues); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// checkPermission checks an entry of a permission.
func checkPermission(s string, queues bool) error {
	if fields := strings.Fields(s); queues && len(fields) == 2 {
		if !subjecttree.Valid(fields[0]) {
			return fmt.Errorf("subject %q is not a valid subject", fields[0])
		}
		if !subjecttree.Valid(fields[1]) {
			return fmt.Errorf("queue %q is not a valid queue", fields[1])
		}
		return nil
	}
	if !subjecttree.Valid(s) {
		return fmt.Errorf("subject %q is not a valid subject", s)
	}
	return nil
}

var responsesTable = func() *table[ResponsePermissions] {
	t := newTable("allow_responses",
		integer("max", func(p *ResponsePermissions) *int64 { return &p.MaxMsgs }).alias("max_msgs", "max_messages", "max_responses").
			doc("messages; negative is unlimited").def("1"),
		custom("expires", "duration text", func(_ *reader, e *conf.Entry, p *ResponsePermissions) error {
			if e.Value.Kind != conf.String {
				return ending{errorText("error parsing expires, not a duration string")}
			}
			d, err := time.ParseDuration(e.Value.Str)
			if err != nil {
				return ending{fmt.Errorf("error parsing expires: %w", err)}
			}
			p.Expires = d
			return nil
		}).alias("expiration", "ttl").doc("time; negative is unlimited").def("2m"),
	)
	t.unknown = "Unknown field %q parsing permissions"
	return t
}()

func readResponses(r *reader, e *conf.Entry, p *Permissions) error {
	a := &ResponsePermissions{}
	switch e.Value.Kind {
	case conf.Bool:
		if !e.Value.Bool {
			p.Responses = nil
			return nil
		}
	case conf.Map:
		responsesTable.read(r, e, a)
	default:
		return errorText("error parsing response permissions, expected a boolean or a map")
	}
	if a.MaxMsgs == 0 {
		a.MaxMsgs = DefaultResponseMaxMsgs
	}
	if a.Expires == 0 {
		a.Expires = DefaultResponseExpires
	}
	p.Responses = a
	return nil
}

package operator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/subjecttree"
)

// maxExpanded bounds the subjects that one list of a template becomes: tags
// multiply.
const maxExpanded = 4096

// expand makes the permissions and limits of a user out of the template of its
// signing key.
func (a *Account) expand(t jwt.UserPermissionLimits, u *jwt.UserClaims) (jwt.UserPermissionLimits, error) {
	for _, dir := range []*jwt.Permission{&t.Pub, &t.Sub} {
		allow, err := a.expandList(dir.Allow, u, false)
		if err != nil {
			return t, err
		}
		deny, err := a.expandList(dir.Deny, u, true)
		if err != nil {
			return t, err
		}
		if len(dir.Allow) > 0 && len(allow) == 0 {
			deny = append(deny, ">")
		}
		dir.Allow, dir.Deny = allow, deny
	}
	return t, nil
}

// expandList replaces the variables of each subject. What cannot be replaced is
// left out of an allow list, and fails a deny list.
func (a *Account) expandList(list jwt.StringList, u *jwt.UserClaims, deny bool) (jwt.StringList, error) {
	var out jwt.StringList
	for _, s := range list {
		if !strings.Contains(s, "{{") {
			out = append(out, s)
			continue
		}
		subjects, err := a.expandSubject(s, u)
		if err != nil {
			return nil, err
		}
		if len(subjects) == 0 && deny {
			return nil, fmt.Errorf("generated invalid subject from %q", s)
		}
		for _, x := range subjects {
			if !subjecttree.Valid(x) {
				if deny {
					return nil, fmt.Errorf("generated invalid subject %q", x)
				}
				continue
			}
			if out = append(out, x); len(out) > maxExpanded {
				return nil, fmt.Errorf("more than %d subjects in a template", maxExpanded)
			}
		}
	}
	return out, nil
}

// expandSubject returns all that a subject with variables stands for: none if a
// tag has no value.
func (a *Account) expandSubject(s string, u *jwt.UserClaims) ([]string, error) {
	done := []string{""}
	for {
		before, rest, found := strings.Cut(s, "{{")
		variable, after, closed := strings.Cut(rest, "}}")
		if !found || !closed {
			for i := range done {
				done[i] += s
			}
			return done, nil
		}
		values, err := a.variable(strings.TrimSpace(variable), u)
		if err != nil {
			return nil, err
		}
		if len(done)*len(values) > maxExpanded {
			return nil, fmt.Errorf("more than %d subjects in a template", maxExpanded)
		}
		var next []string
		for _, d := range done {
			for _, v := range values {
				next = append(next, d+before+v)
			}
		}
		if done, s = next, after; len(done) == 0 {
			return nil, nil
		}
	}
}

func (a *Account) variable(v string, u *jwt.UserClaims) ([]string, error) {
	switch name := strings.ToLower(v); {
	case name == "name()":
		return []string{u.Name}, nil
	case name == "subject()":
		return []string{u.Subject}, nil
	case name == "account-name()":
		return []string{a.Claims.Name}, nil
	case name == "account-subject()":
		return []string{a.Claims.Subject}, nil
	case strings.HasPrefix(name, "tag(") && strings.HasSuffix(name, ")"):
		return tagValues(u.Tags, name[len("tag("):len(name)-1]), nil
	case strings.HasPrefix(name, "account-tag(") && strings.HasSuffix(name, ")"):
		return tagValues(a.Claims.Tags, name[len("account-tag("):len(name)-1]), nil
	}
	return nil, fmt.Errorf("template operation in {{%s}} is not defined", v)
}

func tagValues(tags jwt.TagList, name string) []string {
	var out []string
	for _, t := range tags {
		if k, v, ok := strings.Cut(t, ":"); ok && k == name && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

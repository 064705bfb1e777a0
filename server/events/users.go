package events

import (
	"encoding/json"
	"time"

	"github.com/natsd/natsd/natsproto"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/monitor"
	"github.com/natsd/natsd/subjecttree"
)

// requesterInfo is what a request through a service import says of who asks.
func (r *request) requesterInfo() (info client.RequestInfo, ok bool) {
	h := natsproto.HeaderValue(r.header, account.RequestInfo)
	if h == nil || json.Unmarshal(h, &info) != nil {
		return info, false
	}
	return info, true
}

// requester is the account of who asks, nil if it is not known.
func (s *Service) requester(r *request) *account.Account {
	if r.from != nil {
		return r.from.Account()
	}
	if info, ok := r.requesterInfo(); ok {
		return s.host.Account(info.Account)
	}
	return s.sys
}

// UserInfo is what a connection may know of itself.
type UserInfo struct {
	User        string           `json:"user"`
	Account     string           `json:"account"`
	AccountName string           `json:"account_name,omitempty"`
	UserName    string           `json:"user_name,omitempty"`
	Permissions *UserPermissions `json:"permissions,omitempty"`
	Expires     time.Duration    `json:"expires,omitempty"` // in this time
}

// UserPermissions are what a user may do.
type UserPermissions struct {
	Publish   *monitor.SubjectPermissions `json:"publish,omitempty"`
	Subscribe *monitor.SubjectPermissions `json:"subscribe,omitempty"`
	Responses *ResponsePermissions        `json:"responses,omitempty"`
}

// ResponsePermissions bound the answers to requests.
type ResponsePermissions struct {
	Max int64         `json:"max"`
	TTL time.Duration `json:"ttl"`
}

// answerUserInfo answers if the connection that asks is one of this server.
func (s *Service) answerUserInfo(r *request) {
	if r.reply == "" {
		return
	}
	c := r.from
	if c == nil {
		info, ok := r.requesterInfo()
		if !ok || info.Server != s.host.Describe().Name {
			return
		}
		if c = s.host.Client(info.ID); c == nil {
			return
		}
	}
	snap := c.Snapshot(false)
	u := UserInfo{User: snap.Info.User, Account: snap.Account.Name(), AccountName: s.host.Tag(snap.Account), Permissions: permissions(&snap)}
	if cl := snap.Identity.Claims; cl != nil {
		u.UserName = cl.Name
	}
	if at := snap.Identity.Expires; !at.IsZero() {
		u.Expires = time.Until(at).Truncate(time.Second)
	}
	s.reply(r, "", func(i ServerInfo) any { return envelope{Server: i, Data: u} })
}

func permissions(c *client.Snapshot) *UserPermissions {
	p := c.Identity.Permissions.Source()
	if p == nil {
		return nil
	}
	lists := func(allow, deny []string) *monitor.SubjectPermissions {
		if len(allow)+len(deny) == 0 {
			return nil
		}
		return &monitor.SubjectPermissions{Allow: allow, Deny: deny}
	}
	u := &UserPermissions{Publish: lists(p.Publish.Allow, p.Publish.Deny), Subscribe: lists(p.Subscribe.Allow, p.Subscribe.Deny)}
	if r := p.Responses; r != nil {
		u.Responses = &ResponsePermissions{r.MaxMsgs, r.Expires}
	}
	return u
}

// countSubscribers counts the subscriptions of clients and leafnodes that match a subject, or are inside of it if it has
// wildcards. With a queue only those of the group count.
func countSubscribers(a *account.Account, subject, queue string) int {
	literal := subjecttree.Literal(subject)
	n := 0
	for _, s := range a.List().ReverseMatch(subject) {
		kind := s.Value.To.Kind()
		imp, _ := s.Value.Shadow()
		switch {
		case imp != nil, kind != account.Client && kind != account.Leafnode:
		case queue != "" && s.Queue != queue:
		case literal || subjecttree.Subset(s.Subject, subject):
			n++
		}
	}
	return n
}

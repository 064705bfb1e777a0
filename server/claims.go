package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/client"
	"github.com/natsd/natsd/server/operator"
)

// claimsReply is the answer to requests about account JWTs.
type claimsReply struct {
	Server any          `json:"server"`
	Data   any          `json:"data,omitempty"`
	Error  *claimsState `json:"error,omitempty"`
}

type claimsState struct {
	Account string `json:"account,omitempty"`
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
	// Description is that of an error.
	Description string `json:"description,omitempty"`
}

// claimsService serves the subjects of account JWTs in the system account.
type claimsService struct {
	m    *operatorMode
	pub  *account.Publisher
	work chan func()              // one at a time, in order
	subs []jetstream.Subscription // the start's, then the reload's
}

// maxClaimRequests bounds the requests that wait; more are dropped, and their
// senders ask again.
const maxClaimRequests = 4096

// serve answers requests about claims until the server ends.
func (m *operatorMode) serve() error {
	if m.s.system == nil {
		return nil
	}
	c := &claimsService{m: m, pub: account.NewPublisher(m.s.system, account.System), work: make(chan func(), maxClaimRequests)}
	m.claims = c
	m.s.tasks.start(c.run)
	return c.subscribe()
}

// claimsExpiry is how often tokens are removed whose time has passed.
const claimsExpiry = time.Minute

func (c *claimsService) run() {
	t := time.NewTicker(claimsExpiry)
	defer t.Stop()
	exchange := time.NewTimer(c.exchangeInterval())
	defer exchange.Stop()
	for {
		select {
		case f := <-c.work:
			f()
		case <-exchange.C:
			c.exchange()
			exchange.Reset(c.exchangeInterval())
		case now := <-t.C:
			if d := c.m.directory(); d != nil {
				d.Expire(now)
			}
		case <-c.m.s.ending:
			return
		}
	}
}

// subscribe takes the subjects that the resolver has answers for, in place of those of the resolver before.
func (c *claimsService) subscribe() error {
	for _, s := range c.subs {
		s.Unsubscribe()
	}
	c.subs = nil
	var errs []error
	on := func(subject, queue string, h func(subject, reply string, body []byte)) {
		sub, err := Bus(c.m.s.system).Subscribe(subject, queue, func(msgs []jetstream.Msg) {
			for _, msg := range msgs {
				s, r, b := string(msg.Subject), string(msg.Reply), append([]byte(nil), msg.Data...)
				select {
				case c.work <- func() { h(s, r, b) }:
				default:
				}
			}
		})
		if err != nil {
			errs = append(errs, err)
			return
		}
		c.subs = append(c.subs, sub)
	}
	on("$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "", c.updateOne)
	on("$SYS.ACCOUNT.*.CLAIMS.UPDATE", "", c.updateOne)
	if d := c.m.directory(); d != nil {
		on("$SYS.REQ.CLAIMS.UPDATE", "", c.inDirectory((*directoryClaims).update))
		on("$SYS.REQ.CLAIMS.LIST", "", c.inDirectory((*directoryClaims).list))
		on("$SYS.REQ.CLAIMS.DELETE", "", c.inDirectory((*directoryClaims).delete))
		if d.Full() {
			on("$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP", "", c.inDirectory((*directoryClaims).lookUp))
			on("$SYS.REQ.CLAIMS.PACK", "responder", c.inDirectory((*directoryClaims).pack))
			on(c.exchangeSubject(), "", c.inDirectory((*directoryClaims).merge))
		}
	}
	return errors.Join(errs...)
}

// directoryClaims answers requests from a directory.
type directoryClaims struct {
	*claimsService
	dir *operator.Dir
}

// inDirectory lets a request be answered from the directory that is the resolver then; it may have been replaced.
func (c *claimsService) inDirectory(h func(d *directoryClaims, subject, reply string, body []byte)) func(subject, reply string, body []byte) {
	return func(subject, reply string, body []byte) {
		if d := c.m.directory(); d != nil {
			h(&directoryClaims{c, d}, subject, reply, body)
		}
	}
}

func (c *claimsService) answer(reply string, data any, fault *claimsState) {
	if reply == "" {
		return
	}
	b, err := json.Marshal(claimsReply{Server: c.m.s.infoJSON(), Data: data, Error: fault})
	if err != nil {
		c.m.s.log.Errorf("Claims: %v", err)
		return
	}
	c.send(reply, b)
}

func (c *claimsService) send(reply string, body []byte) {
	if reply == "" {
		return
	}
	c.pub.Publish([]byte(reply), nil, nil, body)
	c.pub.Flush()
}

// update stores a token and applies it if the account is in use.
func (c *directoryClaims) update(_, reply string, body []byte) { c.store(reply, "", body) }

// updateOne is update for the account that the subject names.
func (c *claimsService) updateOne(subject, reply string, body []byte) {
	t := strings.Split(subject, ".")
	key := t[len(t)-3]
	if d := c.m.directory(); d != nil {
		(&directoryClaims{c, d}).store(reply, key, body)
		return
	}
	fail := func(what string, err error) {
		c.answer(reply, nil, &claimsState{Account: key, Code: 500, Description: what + " - " + err.Error()})
	}
	switch l := c.m.get(key); {
	case len(body) == 0:
		fail("jwt update error", errors.New("request body is empty"))
	case l == nil:
		c.answer(reply, &claimsState{Account: key, Code: 200, Message: "jwt update skipped"}, nil)
	case !about(body, key):
		fail("jwt update resulted in error", errSubject)
	default:
		if err := c.m.apply(key, string(body)); err != nil {
			fail("jwt update resulted in error", err)
			return
		}
		c.answer(reply, &claimsState{Account: key, Code: 200, Message: "jwt updated"}, nil)
	}
}

var errSubject = errors.New("subject does not match jwt content")

// about tells whether a token, if it is one, is about an account.
func about(token []byte, key string) bool {
	c, err := jwt.DecodeAccountClaims(string(token))
	return err != nil || c.Subject == key
}

// apply makes a token count for an account in use.
func (m *operatorMode) apply(key, token string) error {
	m.mu.Lock()
	l := m.loaded[key]
	same := l == nil || l.claims.JWT == token && !l.deleted
	m.mu.Unlock()
	if same {
		return nil
	}
	a, err := m.trust.Open(key, token)
	if err != nil {
		return err
	}
	if l, before := m.use(key, a); before != nil {
		m.reconsider(l, before)
	}
	return nil
}

// store keeps a token of the account key (empty: of any) in the directory.
func (c *directoryClaims) store(reply, key string, body []byte) {
	m := c.m
	cache := ""
	if !c.dir.Full() {
		cache = " cache"
	}
	fail := func(account, what string, err error) {
		c.answer(reply, nil, &claimsState{Account: account, Code: 500, Description: what + " - " + err.Error()})
	}
	token := string(body)
	claims, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		fail("n/a", "jwt update"+cache+" resulted in error", err)
		return
	}
	if key != "" && claims.Subject != key {
		fail(key, "jwt update"+cache+" resulted in error", errSubject)
		return
	}
	key = claims.Subject
	vr := jwt.CreateValidationResults()
	claims.Validate(vr)
	if vr.IsBlocking(false) {
		what := "jwt validation failed"
		if cache != "" {
			what = "jwt update cache validation failed"
		}
		fail(key, what, fmt.Errorf("validation errors: %v", vr.Errors()))
		return
	}
	if claims.Issuer == m.firstOperator() && m.strictOperator() {
		fail(key, "jwt update"+cache+" resulted in error", errors.New("operator requires issuer to be a signing key"))
		return
	}
	// Judged before it is kept: what cannot be used is not stored.
	if _, err := m.trust.Open(key, token); err != nil {
		fail(key, "jwt update"+cache+" resulted in error", err)
		return
	}
	if cache != "" && m.get(key) == nil {
		c.answer(reply, &claimsState{Account: key, Code: 200, Message: "jwt update cache skipped"}, nil)
		return
	}
	if err := c.dir.Store(key, token); err != nil {
		fail(key, "jwt update"+cache+" resulted in error", err)
		return
	}
	if err := m.apply(key, token); err != nil {
		fail(key, "jwt update"+cache+" resulted in error", err)
		return
	}
	m.exporterStored(key)
	c.answer(reply, &claimsState{Account: key, Code: 200, Message: "jwt updated" + cache}, nil)
}

// exporterStored looks again at accounts that wait for the claims of key.
func (m *operatorMode) exporterStored(key string) {
	if m.get(key) != nil {
		return
	}
	m.rewire(func() { m.configureImporters(key) })
}

func (m *operatorMode) firstOperator() string {
	if o := m.s.Options(); len(o.Operators) > 0 {
		return o.Operators[0].Claims.Subject
	}
	return ""
}

func (m *operatorMode) strictOperator() bool {
	o := m.s.Options()
	return len(o.Operators) > 0 && o.Operators[0].Claims.StrictSigningKeyUsage
}

func (c *directoryClaims) list(_, reply string, _ []byte) {
	keys := c.dir.Keys()
	if keys == nil {
		keys = []string{}
	}
	c.answer(reply, keys, nil)
}

func (c *directoryClaims) lookUp(subject, reply string, _ []byte) {
	if c.m.own(reply) {
		return
	}
	t := strings.Split(subject, ".")
	token, err := c.dir.Fetch(context.Background(), t[len(t)-3])
	if err != nil {
		token = ""
	}
	c.send(reply, []byte(token))
}

// pack sends all tokens, unless the requester has the same already.
func (c *directoryClaims) pack(_, reply string, body []byte) {
	if reply == "" || c.m.own(reply) {
		return
	}
	if h := c.dir.Hash(); len(body) != sha256.Size || [sha256.Size]byte(body) != h {
		for _, key := range c.dir.Keys() {
			if token, err := c.dir.Fetch(context.Background(), key); err == nil {
				c.send(reply, []byte(key+"|"+token))
			}
		}
	}
	c.send(reply, nil)
}

// delete carries out a request that a key of the operator signed.
func (c *directoryClaims) delete(_, reply string, body []byte) {
	m := c.m
	g, err := jwt.DecodeGeneric(string(body))
	if err != nil {
		c.answer(reply, nil, &claimsState{Code: 500, Description: "delete accounts request failed - " + err.Error()})
		return
	}
	keys, err := m.deletable(g)
	if err == nil {
		for _, key := range keys {
			if err = c.dir.Delete(key); err != nil {
				break
			}
			m.disable(key)
		}
	}
	if err != nil {
		c.answer(reply, nil, &claimsState{Code: 500, Description: fmt.Sprintf("delete accounts request by %s failed - %v", g.Subject, err)})
		return
	}
	c.answer(reply, &claimsState{Code: 200, Message: fmt.Sprintf("deleted %d accounts", len(keys))}, nil)
}

func (m *operatorMode) deletable(g *jwt.GenericClaims) ([]string, error) {
	switch {
	case !m.trust.MayDelete(g.Issuer):
		return nil, errors.New("not trusted")
	case g.Subject != g.Issuer:
		return nil, errors.New("not self signed")
	}
	list, ok := g.Data["accounts"].([]any)
	if !ok || len(list) == 0 {
		return nil, errors.New("malformed request")
	}
	var keys []string
	for _, v := range list {
		key, ok := v.(string)
		if !ok {
			return nil, errors.New("malformed request")
		}
		if m.s.system != nil && key == m.s.system.Name() {
			return nil, errors.New("not allowed to delete system account")
		}
		keys = append(keys, key)
	}
	if !m.s.Options().Resolver.AllowDelete {
		return nil, operator.ErrNoDeletion
	}
	return keys, nil
}

// disable ends an account whose claims were deleted.
func (m *operatorMode) disable(key string) {
	m.rewire(func() {
		l := m.get(key)
		if l == nil {
			return
		}
		m.mu.Lock()
		l.deleted = true
		m.mu.Unlock()
		m.configure(l)
		m.configureImporters(key)
		m.s.accountJetStream(l.acc, nil)
		for _, c := range m.s.clientsOf(l.acc) {
			c.CloseErr("Account Authentication Expired", client.AuthenticationExpired)
		}
	})
}

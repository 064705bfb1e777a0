package server

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/natsd/natsd/jetstream"
	"github.com/natsd/natsd/server/account"
	"github.com/natsd/natsd/server/operator"
)

// Servers with directories of account JWTs ask each other: for an account that
// one does not have, and now and then for what others have more than it.

// maxLookupAnswers bounds the answers to a question that wait to be judged; the
// first good one counts.
const maxLookupAnswers = 64

var errLookupTimeout = errors.New("fetching jwt timed out")

// lookUp asks the other servers for the claims of an account, and keeps what it
// gets in the directory. The first answer that holds counts.
func (m *operatorMode) lookUp(d *operator.Dir, key string) (string, error) {
	sys := m.s.system
	if sys == nil {
		return "", operator.ErrNoAccount
	}
	subject := "$SYS.REQ.ACCOUNT." + key + ".CLAIMS.LOOKUP"
	others, _ := sys.List().NumInterest([]byte(subject))
	if d.Full() {
		others-- // this server answers, too
	}
	if others <= 0 {
		return "", operator.ErrNoAccount
	}
	inbox := m.inbox + nuid.Next()
	answers := make(chan []byte, maxLookupAnswers)
	sub, err := Bus(sys).Subscribe(inbox, "", func(msgs []jetstream.Msg) {
		for _, msg := range msgs {
			select {
			case answers <- bytes.Clone(msg.Data):
			default:
			}
		}
	})
	if err != nil {
		return "", err
	}
	defer sub.Unsubscribe()
	pub := account.NewPublisher(sys, account.System)
	pub.Publish([]byte(subject), []byte(inbox), nil, nil)
	pub.Flush()
	timer := time.NewTimer(m.fetchTimeout())
	defer timer.Stop()
	for {
		select {
		case token := <-answers:
			if len(token) == 0 {
				if others--; others == 0 {
					return "", operator.ErrNoAccount
				}
				continue
			}
			if _, err := m.trust.Open(key, string(token)); err != nil {
				m.s.log.Debugf("Claims of account %q from another server: %v", key, err)
				continue
			}
			return string(token), d.Store(key, string(token))
		case <-timer.C:
			return "", errLookupTimeout
		case <-m.s.ending:
			return "", errLookupTimeout
		}
	}
}

// own tells whether a request came from this server itself.
func (m *operatorMode) own(reply string) bool { return strings.HasPrefix(reply, m.inbox) }

// exchangeSubject is where others send what they have.
func (c *claimsService) exchangeSubject() string { return c.m.inbox + "PACK" }

// exchangeInterval is the time until others are asked again.
func (c *claimsService) exchangeInterval() time.Duration {
	if d := c.m.directory(); d != nil && d.Full() && d.Interval() > 0 {
		return d.Interval()
	}
	return time.Minute // there may be another resolver then
}

// exchange asks another server for what it has, if that is not the same.
func (c *claimsService) exchange() {
	if d := c.m.directory(); d != nil && d.Full() {
		hash := d.Hash()
		c.pub.Publish([]byte("$SYS.REQ.CLAIMS.PACK"), []byte(c.exchangeSubject()), nil, hash[:])
		c.pub.Flush()
	}
}

// merge takes over claims that another server sent and that are newer.
func (c *directoryClaims) merge(_, _ string, body []byte) {
	for line := range strings.SplitSeq(string(body), "\n") {
		key, token, ok := strings.Cut(line, "|")
		if !ok {
			continue
		}
		if _, err := c.m.trust.Open(key, token); err != nil {
			c.m.s.log.Debugf("Claims of account %q from another server: %v", key, err)
			continue
		}
		changed, err := c.dir.Merge(key, token)
		if err == nil && changed {
			if err = c.m.apply(key, token); err == nil {
				c.m.exporterStored(key)
			}
		}
		if err != nil {
			c.m.s.log.Errorf("Claims of account %q from another server: %v", key, err)
		}
	}
}

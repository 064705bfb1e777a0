package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// What a client of a power cut test sends, and how it reads everything back.

// answer is what the API and acknowledgements say.
type answer struct {
	Error *struct {
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Success   bool   `json:"success"`
	Count     int    `json:"count"`
	Value     string `json:"val"`
	Type      string `json:"type"`
	Config    struct {
		Description string    `json:"description"`
		PauseUntil  time.Time `json:"pause_until"`
	} `json:"config"`
	NumPending int    `json:"num_pending"`
	Name       string `json:"name"`
	State      struct {
		Messages int    `json:"messages"`
		FirstSeq uint64 `json:"first_seq"`
		LastSeq  uint64 `json:"last_seq"`
	} `json:"state"`
	Message struct {
		Subject string `json:"subject"`
		Seq     uint64 `json:"seq"`
		Data    []byte `json:"data"`
	} `json:"message"`
}

// apiError is an error in an answer.
type apiError struct {
	code int
	text string
}

func (e *apiError) Error() string { return e.text }

const (
	codeStreamNotFound = 10059
	codeNoMessage      = 10037
	codeWrongLast      = 10071
)

func isCode(err error, code int) bool {
	var e *apiError
	return errors.As(err, &e) && e.code == code
}

func parseAnswer(data []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("%q: %w", data, err)
	}
	if a.Error != nil {
		return a, &apiError{a.Error.ErrCode, a.Error.Description}
	}
	return a, nil
}

// ask sends a request and reads its answer. An error of the API is an *apiError.
func (p *powered) ask(ctx context.Context, subject, data string, headers ...string) (answer, error) {
	m, err := p.nc.RequestMsgWithContext(ctx, message(subject, data, headers...))
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(m.Data)
}

// message makes a message; headers are names and values in turn.
func message(subject, data string, headers ...string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = []byte(data)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	return m
}

// stored is a message of a stream.
type stored struct {
	subject, data string
	header        nats.Header
}

// answerWithin bounds one answer of a server that has nothing else to do.
const answerWithin = time.Minute

// readStream reads all messages of a stream with direct gets.
func (p *powered) readStream(name string) (map[uint64]stored, error) {
	inbox := p.nc.NewInbox()
	sub, err := p.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	ctx, cancel := patient(answerWithin)
	defer cancel()
	found := map[uint64]stored{}
	for next := uint64(1); ; {
		if err := p.nc.PublishRequest("$JS.API.DIRECT.GET."+name, inbox, fmt.Appendf(nil, `{"seq":%d,"batch":100000}`, next)); err != nil {
			return nil, err
		}
		for more := true; more; {
			m, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				return nil, fmt.Errorf("reading stream %s behind %d messages: %w", name, len(found), err)
			}
			switch status := m.Header.Get("Status"); status {
			case "":
				seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
				if err != nil || seq < next {
					return nil, fmt.Errorf("reading stream %s: headers %v behind %d", name, m.Header, next)
				}
				found[seq] = stored{m.Header.Get("Nats-Subject"), string(m.Data), m.Header}
				next = seq + 1
			case "204":
				if m.Header.Get("Nats-Num-Pending") == "0" {
					return found, nil
				}
				more = false
			case "404":
				return found, nil
			default:
				return nil, fmt.Errorf("reading stream %s: %s %s", name, status, m.Header.Get("Description"))
			}
		}
	}
}

// consumeStream reads all messages of a stream with a consumer.
func (p *powered) consumeStream(name string) (map[uint64]stored, error) {
	inbox := p.nc.NewInbox()
	sub, err := p.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	ctx, cancel := patient(answerWithin)
	defer cancel()
	a, err := p.ask(ctx, "$JS.API.CONSUMER.CREATE."+name, fmt.Sprintf(`{"stream_name":%q,"config":{"ack_policy":"none","mem_storage":true}}`, name))
	if err == nil && a.NumPending > 0 {
		err = p.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+name+"."+a.Name, inbox, fmt.Appendf(nil, `{"batch":%d}`, a.NumPending))
	}
	if err != nil {
		return nil, err
	}
	found := map[uint64]stored{}
	for range a.NumPending {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("consuming %d messages of stream %s, behind %d: %w", a.NumPending, name, len(found), err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		found[meta.Sequence.Stream] = stored{m.Subject, string(m.Data), m.Header}
	}
	return found, nil
}

// drain takes the messages that a consumer has left, the unacknowledged again after
// the ack wait, and returns their stream sequences. It acknowledges nothing. push is
// the deliver subject of a push consumer.
func (p *powered) drain(stream, name, push string) (map[uint64]bool, error) {
	seen := map[uint64]bool{}
	inbox := push
	if push == "" {
		inbox = p.nc.NewInbox()
	}
	sub, err := p.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	ctx, cancel := patient(answerWithin)
	defer func() { cancel() }()
	for came := 0; ; {
		// What was acknowledged and removed before the cut counts as pending until its
		// time has come: so ask again.
		ci, err := p.js.ConsumerInfo(stream, name)
		if err != nil {
			return nil, err
		}
		left := int(ci.NumPending) + ci.NumAckPending
		if len(seen) >= left {
			return seen, nil
		}
		if len(seen) > came {
			cancel()
			came = len(seen)
			ctx, cancel = patient(answerWithin)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d messages are left, of which %d came", left, len(seen))
		}
		if push == "" {
			if err := p.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name, inbox, fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, left, 3*redeliverAfter)); err != nil {
				return nil, err
			}
		}
		for len(seen) < left {
			m, err := sub.NextMsg(4 * redeliverAfter)
			if errors.Is(err, nats.ErrTimeout) || err == nil && m.Reply == "" {
				break
			}
			if err != nil {
				return nil, err
			}
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			seen[meta.Sequence.Stream] = true
		}
	}
}

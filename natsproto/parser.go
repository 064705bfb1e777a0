package natsproto

import (
	"bytes"
	"errors"
	"fmt"
)

// Link is the kind of connection whose lines a [Parser] reads.
type Link uint8

const (
	LinkClient       Link = iota // a client of ours
	LinkRoute                    // a server of our cluster, accounts named in each line
	LinkAccountRoute             // a route dedicated to one account, which the lines leave out
	LinkGateway                  // a server of another cluster
	LinkLeaf                     // a leaf node or its hub
	linkKinds
)

// Errors of [Parser.Next]. Each ends the connection; what goes on the wire
// before that is said here.
var (
	// ErrUnknownOp: a byte does not fit. -ERR 'Unknown Protocol Operation'.
	// When it is the end of a body that does not fit, the Op that comes with it
	// has what the line says.
	ErrUnknownOp = errors.New("unknown protocol operation")
	// ErrControlLine: a line is too long. -ERR 'maximum control line exceeded'.
	ErrControlLine = errors.New("maximum control line exceeded")
	// ErrMaxPayload: a message is too long. -ERR 'Maximum Payload Violation'.
	// The Op that comes with it has its arguments, and its Body holds the
	// header block if that is complete already.
	ErrMaxPayload = errors.New("maximum payload exceeded")
	// ErrNotConnect: RequireConnect is set and a line begins with something
	// else. Nothing was consumed: the caller may clear RequireConnect and call
	// Next again.
	ErrNotConnect = errors.New("expected CONNECT")
)

// ArgError is a line whose verb is known and whose arguments are bad. The
// connection is closed without an -ERR line. The Op that comes with it has the
// verb and its arguments as they came.
type ArgError struct{ Text string }

func (e *ArgError) Error() string { return e.Text }

func argErr(text string, arg []byte) error {
	const most = 256 // enough to find the culprit, bounded for the log
	if len(arg) > most {
		arg = arg[:most]
	}
	return &ArgError{fmt.Sprintf("%s: %q", text, arg)}
}

// DefaultMaxControlLine is the limit on the arguments of a client's line, in bytes.
// Links between servers use 16 times the configured value.
const DefaultMaxControlLine = 4096

// maxKeptBody bounds the scratch that a quiet connection keeps for messages
// that did not fit its read buffer, in bytes.
const maxKeptBody = 64 << 10

// Parser reads the lines of one connection. The zero value reads a client's
// lines and lets only empty messages through. It is not safe for concurrent use. After an error
// other than [ErrNotConnect] it must not be used any more.
type Parser struct {
	// Link decides which verbs there are and how their arguments read.
	Link Link
	// MaxControlLine is the limit on a line's arguments in bytes; 0 means
	// DefaultMaxControlLine.
	MaxControlLine int
	// MaxPayload is the limit on a message's declared size; negative means none.
	MaxPayload int
	// NoHeaders refuses HPUB.
	NoHeaders bool
	// RequireConnect refuses lines that do not begin with C or c.
	RequireConnect bool

	op     Op
	state  state
	verb   *verb  // of the line under way
	line   []byte // what came of a line that straddles reads; or its arguments, while the body is awaited
	body   []byte // what came of a body that straddles reads, with its CR LF
	taken  bool   // the last op used line or body
	queues [16][]byte
}

type state uint8

const (
	atLineStart state = iota
	inLine            // line holds its beginning
	inSkip            // the rest of the line is ignored (PING, PONG, +OK)
	inBody
)

// Next reads one operation from buf and returns it with the number of bytes
// consumed. A nil op without an error means that all of buf was consumed and
// the operation goes on in bytes to come. The op and its slices are valid until
// the next call.
func (p *Parser) Next(buf []byte) (op *Op, n int, err error) {
	if p.taken {
		p.release()
	}
	if len(buf) == 0 {
		return nil, 0, nil
	}
	switch p.state {
	case atLineStart:
		if p.RequireConnect && buf[0]|0x20 != 'c' {
			return nil, 0, ErrNotConnect
		}
		if n := p.wholePub(buf); n > 0 {
			return &p.op, n, nil
		}
		return p.start(buf)
	case inSkip:
		return p.skip(buf, 0)
	case inLine:
		return p.continueLine(buf)
	default:
		return p.continueBody(buf)
	}
}

// start reads from the first byte of a line.
func (p *Parser) start(buf []byte) (*Op, int, error) {
	v, vlen := findVerb(p.Link, buf)
	if v == nil {
		if vlen < 0 {
			return nil, 0, ErrUnknownOp
		}
		// The verb is not complete, and fits so far.
		p.line = append(p.line[:0], buf...)
		p.state = inLine
		p.verb = nil
		return nil, len(buf), nil
	}
	if v.skip {
		p.verb = v
		return p.skip(buf, vlen)
	}
	eol := bytes.IndexByte(buf[vlen:], '\n')
	if eol < 0 {
		if !v.fits(buf[vlen]) {
			return nil, 0, ErrUnknownOp
		}
		p.verb = v
		p.line = append(p.line[:0], buf[vlen:]...)
		p.state = inLine
		if p.lineTooLong(p.line, nil) {
			return nil, 0, ErrControlLine
		}
		return nil, len(buf), nil
	}
	line := buf[vlen : vlen+eol]
	if !v.fits(buf[vlen]) {
		return nil, 0, ErrUnknownOp
	}
	return p.args(v, line, buf, vlen+eol+1)
}

// continueLine reads on in a line whose beginning is in p.line.
func (p *Parser) continueLine(buf []byte) (*Op, int, error) {
	used := 0
	for p.verb == nil {
		if used == len(buf) {
			return nil, used, nil
		}
		// At most a verb's length of single steps.
		p.line = append(p.line, buf[used])
		used++
		v, vlen := findVerb(p.Link, p.line)
		if v == nil {
			if vlen < 0 {
				return nil, 0, ErrUnknownOp
			}
			continue
		}
		// The byte behind the verb, which findVerb wants to see, came last:
		// give it back, it belongs to the arguments.
		p.verb = v
		used -= len(p.line) - vlen
		p.line = p.line[:0]
		if v.skip {
			return p.skip(buf, used)
		}
	}
	v := p.verb
	eol := bytes.IndexByte(buf[used:], '\n')
	part := buf[used:]
	if eol >= 0 {
		part = buf[used : used+eol]
	}
	if len(p.line) == 0 {
		first := byte('\n')
		if len(part) > 0 {
			first = part[0]
		} else if eol < 0 {
			return nil, used, nil
		}
		if !v.fits(first) {
			return nil, 0, ErrUnknownOp
		}
	}
	if p.lineTooLong(p.line, part) {
		return nil, 0, ErrControlLine
	}
	p.line = append(p.line, part...)
	if eol < 0 {
		return nil, len(buf), nil
	}
	p.taken = true
	return p.args(v, p.line, buf, used+eol+1)
}

// skip passes over the rest of a line without arguments.
func (p *Parser) skip(buf []byte, from int) (*Op, int, error) {
	eol := bytes.IndexByte(buf[from:], '\n')
	if eol < 0 {
		p.state = inSkip
		return nil, len(buf), nil
	}
	p.state = atLineStart
	p.op = Op{Kind: p.verb.kind, Verb: p.verb.name}
	return &p.op, from + eol + 1, nil
}

func (p *Parser) maxControlLine() int {
	if p.MaxControlLine > 0 {
		return p.MaxControlLine
	}
	return DefaultMaxControlLine
}

// lineTooLong judges a line, finished or not, that comes in two parts. Leading
// whitespace does not count, within reason, nor a CR at the end.
func (p *Parser) lineTooLong(line, more []byte) bool {
	most := p.maxControlLine()
	n := len(line) + len(more)
	if n <= most {
		return false
	}
	last := line
	if len(more) > 0 {
		last = more
	}
	if last[len(last)-1] == '\r' {
		n--
	}
	lead := len(line) - len(trimLeft(line))
	if lead == len(line) {
		lead += len(more) - len(trimLeft(more))
	}
	return n-lead > most || n > 2*most
}

// args parses the arguments of a whole line; what follows it begins at buf[next].
func (p *Parser) args(v *verb, line, buf []byte, next int) (*Op, int, error) {
	if p.lineTooLong(line, nil) {
		return nil, 0, ErrControlLine
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	line = trim(line)
	p.state = atLineStart
	op := &p.op
	op.begin(v, line)
	if err := v.parse(p, op, line); err != nil {
		return op, 0, err
	}
	if !v.body {
		return op, next, nil
	}
	rest := buf[next:]
	if p.MaxPayload >= 0 && op.Size > p.MaxPayload {
		if op.HdrLen > 0 && op.HdrLen <= len(rest) {
			op.Body = rest[:op.HdrLen:op.HdrLen]
		} else {
			op.HdrLen = 0
		}
		return op, next, ErrMaxPayload
	}
	if len(rest) >= op.Size+2 {
		if rest[op.Size] != '\r' || rest[op.Size+1] != '\n' {
			return badBody(op)
		}
		op.Body = rest[:op.Size:op.Size]
		return op, next + op.Size + 2, nil
	}
	if len(rest) > op.Size && rest[op.Size] != '\r' {
		return badBody(op)
	}
	// The body goes on in later reads: keep the arguments and what there is.
	if !p.taken {
		p.line = append(p.line[:0], line...)
		arg := p.line
		op.begin(v, arg)
		if err := v.parse(p, op, arg); err != nil {
			return nil, 0, err
		}
	}
	p.taken = false
	if need := min(op.Size+2, maxKeptBody); cap(p.body) < need {
		p.body = make([]byte, 0, need)
	}
	p.body = append(p.body[:0], rest...)
	p.state = inBody
	return nil, len(buf), nil
}

// continueBody reads on in a body whose beginning is in p.body.
func (p *Parser) continueBody(buf []byte) (*Op, int, error) {
	op := &p.op
	whole := op.Size + 2
	n := min(whole-len(p.body), len(buf))
	p.body = append(p.body, buf[:n]...)
	if len(p.body) > op.Size && p.body[op.Size] != '\r' {
		return badBody(op)
	}
	if len(p.body) < whole {
		return nil, n, nil
	}
	if p.body[op.Size+1] != '\n' {
		return badBody(op)
	}
	op.Body = p.body[:op.Size:op.Size]
	p.state = atLineStart
	p.taken = true
	return op, n, nil
}

// Awaited is the operation whose body is not complete, with what its line says;
// nil if there is none. It is valid until the next call of Next.
func (p *Parser) Awaited() *Op {
	if p.state != inBody {
		return nil
	}
	return &p.op
}

// badBody is the answer to a body that does not end in CR LF: the operation with
// what its line says, for callers that judge the line first.
func badBody(op *Op) (*Op, int, error) {
	op.Body, op.HdrLen = nil, 0
	return op, 0, ErrUnknownOp
}

// release forgets what the last op was made of. Buffers over maxKeptBody are
// dropped, so that a connection that once saw a large message stays small.
func (p *Parser) release() {
	p.taken = false
	p.line = p.line[:0]
	p.body = p.body[:0]
	if cap(p.body) > maxKeptBody {
		p.body = nil
	}
	if cap(p.line) > maxKeptBody {
		p.line = nil
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func trim(b []byte) []byte {
	b = trimLeft(b)
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

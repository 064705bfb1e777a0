package natsproto

// verb is one entry of a link's table of operations.
type verb struct {
	name  string // in capitals
	kind  Kind
	skip  bool // everything up to LF is ignored
	tight bool // arguments may follow without whitespace (CONNECT{...})
	body  bool // a body of op.Size bytes and CR LF follows
	parse func(p *Parser, op *Op, line []byte) error
}

// fits says whether c may follow the verb.
func (v *verb) fits(c byte) bool { return v.tight || isSpace(c) }

var (
	verbConnect = &verb{name: "CONNECT", kind: OpConnect, tight: true, parse: parseText}
	verbInfo    = &verb{name: "INFO", kind: OpInfo, tight: true, parse: parseText}
	verbPing    = &verb{name: "PING", kind: OpPing, skip: true}
	verbPong    = &verb{name: "PONG", kind: OpPong, skip: true}
	verbOK      = &verb{name: "+OK", kind: OpOK, skip: true}
	verbErr     = &verb{name: "-ERR", kind: OpErr, parse: parseText}
	verbPub     = &verb{name: "PUB", kind: OpPub, body: true, parse: parsePub}
	verbHPub    = &verb{name: "HPUB", kind: OpPub, body: true, parse: parseHPub}
	verbSub     = &verb{name: "SUB", kind: OpSub, parse: parseSub}
	verbUnsub   = &verb{name: "UNSUB", kind: OpUnsub, parse: parseUnsub}

	verbRMsg  = &verb{name: "RMSG", kind: OpRouteMsg, body: true, parse: parseRMsg}
	verbHMsg  = &verb{name: "HMSG", kind: OpRouteMsg, body: true, parse: parseHMsg}
	verbLMsg  = &verb{name: "LMSG", kind: OpRouteMsg, body: true, parse: parseLMsg}
	verbRSub  = &verb{name: "RS+", kind: OpRouteSub, parse: parseRSub}
	verbRUns  = &verb{name: "RS-", kind: OpRouteUnsub, parse: parseRUnsub}
	verbLSub  = &verb{name: "LS+", kind: OpRouteSub, parse: parseLSub}
	verbLUns  = &verb{name: "LS-", kind: OpRouteUnsub, parse: parseLUnsub}
	verbASub  = &verb{name: "A+", kind: OpAccountSub, parse: parseAccount}
	verbAUns  = &verb{name: "A-", kind: OpAccountUnsub, parse: parseAccount}
	bothSides = []*verb{verbConnect, verbInfo, verbPing, verbPong, verbOK, verbErr}
)

// verbs is the table of operations of each kind of link, by first letter
// (lower case, or the sign).
var verbs = func() (t [linkKinds][128][]*verb) {
	add := func(l Link, vs ...*verb) {
		for _, v := range vs {
			c := lower(v.name[0])
			t[l][c] = append(t[l][c], v)
		}
	}
	for l := range linkKinds {
		add(l, bothSides...)
	}
	// PUB first: it is what a busy client sends.
	t[LinkClient]['p'] = []*verb{verbPub, verbPing, verbPong}
	add(LinkClient, verbHPub, verbSub, verbUnsub)
	for _, l := range []Link{LinkRoute, LinkAccountRoute} {
		add(l, verbRMsg, verbHMsg, verbLMsg, verbRSub, verbRUns, verbLSub, verbLUns)
	}
	add(LinkGateway, verbRMsg, verbHMsg, verbRSub, verbRUns, verbASub, verbAUns)
	add(LinkLeaf, verbLMsg, verbHMsg, verbLSub, verbLUns)
	return t
}()

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// findVerb recognises the verb at the start of b. It returns the verb and its
// length; nil and 0 when b ends before the verb is decided; nil and -1 when no
// verb begins so. For verbs that take arguments, the byte behind the verb must
// be there too.
func findVerb(l Link, b []byte) (*verb, int) {
	c := lower(b[0])
	if c >= 128 {
		return nil, -1
	}
	partial := false
	for _, v := range verbs[l][c] {
		n := 1
		for n < len(v.name) && n < len(b) && lower(b[n]) == lower(v.name[n]) {
			n++
		}
		switch {
		case n == len(v.name):
			if !v.skip && n == len(b) {
				return nil, 0
			}
			return v, n
		case n == len(b):
			partial = true
		}
	}
	if partial {
		return nil, 0
	}
	return nil, -1
}

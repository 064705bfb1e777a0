package natsproto

// maxArgs bounds the arguments of a client's line; one more than the longest
// form has, so that too many are seen as such.
const maxArgs = 5

// splitter walks over the arguments of a line.
type splitter struct {
	rest []byte
	cr   bool // a CR separates too
}

func (s *splitter) space(c byte) bool { return c == ' ' || c == '\t' || s.cr && c == '\r' }

// next returns the next argument, nil at the end.
func (s *splitter) next() []byte {
	b := s.rest
	i := 0
	for i < len(b) && s.space(b[i]) {
		i++
	}
	if i == len(b) {
		s.rest = nil
		return nil
	}
	start := i
	for i < len(b) && !s.space(b[i]) {
		i++
	}
	s.rest = b[i:]
	return b[start:i:i]
}

// split fills args and returns their number; more than maxArgs are cut off.
func split(line []byte, cr bool, args *[maxArgs][]byte) int {
	s := splitter{line, cr}
	n := 0
	for n < maxArgs {
		a := s.next()
		if a == nil {
			break
		}
		args[n] = a
		n++
	}
	return n
}

// ParseSize reads 1 to 9 decimal digits; anything else gives -1.
func ParseSize(b []byte) int {
	if len(b) == 0 || len(b) > 9 {
		return -1
	}
	n := 0
	for _, c := range b {
		d := c - '0'
		if d > 9 {
			return -1
		}
		n = n*10 + int(d)
	}
	return n
}

func parseText(*Parser, *Op, []byte) error { return nil }

func parsePub(_ *Parser, op *Op, line []byte) error {
	size, ok := splitPub(op, line)
	if !ok {
		var a [maxArgs][]byte
		switch n := split(line, false, &a); n {
		case 2:
			size = a[1]
		case 3:
			op.Reply, size = a[1], a[2]
		default:
			return argErr("processPub Parse Error", line)
		}
		op.Subject = a[0]
	}
	if op.Size = ParseSize(size); op.Size < 0 {
		return argErr("processPub Bad or Missing Size", line)
	}
	return nil
}

// splitPub splits a line with single blanks, as clients write it. It sets subject
// and reply; ok is false for other lines.
func splitPub(op *Op, line []byte) (size []byte, ok bool) {
	var blanks [2]int
	n := 0
	for i, c := range line {
		if !isSpace(c) {
			continue
		}
		if n == len(blanks) {
			return nil, false
		}
		blanks[n] = i
		n++
	}
	first, second := blanks[0], blanks[1]
	switch {
	case n == 1:
		op.Subject = line[:first:first]
		return line[first+1:], true
	case n == 2 && second > first+1:
		op.Subject, op.Reply = line[:first:first], line[first+1:second:second]
		return line[second+1:], true
	}
	return nil, false
}

func parseHPub(p *Parser, op *Op, line []byte) error {
	if p.NoHeaders {
		return &ArgError{"message headers not supported"}
	}
	var a [maxArgs][]byte
	switch n := split(line, false, &a); n {
	case 3:
	case 4:
		op.Reply = a[1]
		a[1], a[2] = a[2], a[3]
	default:
		return argErr("processHeaderPub Parse Error", line)
	}
	op.Subject = a[0]
	if op.HdrLen = ParseSize(a[1]); op.HdrLen < 0 {
		return argErr("processHeaderPub Bad or Missing Header Size", line)
	}
	if op.Size = ParseSize(a[2]); op.Size < 0 {
		return argErr("processHeaderPub Bad or Missing Total Size", line)
	}
	if op.HdrLen > op.Size {
		return argErr("processHeaderPub Header Size larger then TotalSize", line)
	}
	return nil
}

func parseSub(_ *Parser, op *Op, line []byte) error {
	var a [maxArgs][]byte
	switch n := split(line, true, &a); n {
	case 2:
		op.SID = a[1]
	case 3:
		op.Queue, op.SID = a[1], a[2]
	default:
		return argErr("processSub Parse Error", line)
	}
	op.Subject = a[0]
	return nil
}

func parseUnsub(_ *Parser, op *Op, line []byte) error {
	var a [maxArgs][]byte
	switch n := split(line, true, &a); n {
	case 1:
	case 2:
		op.Max = max(ParseSize(a[1]), 0)
	default:
		return argErr("processUnsub Parse Error", line)
	}
	op.SID = a[0]
	return nil
}

func parseRMsg(p *Parser, op *Op, line []byte) error {
	return parseLinkMsg(p, op, line, false, p.Link != LinkAccountRoute, false)
}

func parseHMsg(p *Parser, op *Op, line []byte) error {
	named := p.Link == LinkRoute || p.Link == LinkGateway
	return parseLinkMsg(p, op, line, false, named, true)
}

// parseLMsg reads the leaf form on leaf links (no origin, no header length)
// and the origin form on routes, whose header length is always there.
func parseLMsg(p *Parser, op *Op, line []byte) error {
	if p.Link == LinkLeaf {
		return parseLinkMsg(p, op, line, false, false, false)
	}
	return parseLinkMsg(p, op, line, true, p.Link == LinkRoute, true)
}

// parseLinkMsg reads [origin] [account] subject target [hdrlen] size, with
// target one of: nothing; reply; "+" reply queues; "|" queues. As with other
// servers, the number of arguments decides: one is a reply, whatever it says, and
// "+" may stand before a reply without queues.
func parseLinkMsg(p *Parser, op *Op, line []byte, origin, account, hdr bool) error {
	s := splitter{rest: line}
	if origin {
		op.Origin = s.next()
	}
	if account {
		op.Account = s.next()
	}
	op.Subject = s.next()
	if op.Subject == nil {
		return argErr("processRoutedMsgArgs Parse Error", line)
	}
	rest := p.queues[:0]
	for a := s.next(); a != nil; a = s.next() {
		rest = append(rest, a)
	}
	sizes := 1
	if hdr {
		sizes = 2
	}
	if len(rest) < sizes {
		return argErr("processRoutedMsgArgs Parse Error", line)
	}
	target := rest[:len(rest)-sizes]
	switch {
	case len(target) == 0:
	case len(target) == 1:
		op.Reply = target[0]
	case string(target[0]) == "+":
		op.Reply = target[1]
		op.Queues = target[2:]
	case string(target[0]) == "|":
		op.Queues = target[1:]
	default:
		return argErr("processRoutedMsgArgs Bad or Missing Reply Indicator", line)
	}
	if hdr {
		if op.HdrLen = ParseSize(rest[len(rest)-2]); op.HdrLen < 0 {
			return argErr("processRoutedHeaderMsgArgs Bad or Missing Header Size", line)
		}
	}
	if op.Size = ParseSize(rest[len(rest)-1]); op.Size < 0 {
		return argErr("processRoutedMsgArgs Bad or Missing Size", line)
	}
	if op.HdrLen > op.Size {
		return argErr("processRoutedHeaderMsgArgs Header Size larger then TotalSize", line)
	}
	return nil
}

func parseRSub(p *Parser, op *Op, line []byte) error {
	return parseLinkSub(p, op, line, false)
}

func parseLSub(p *Parser, op *Op, line []byte) error {
	return parseLinkSub(p, op, line, p.Link != LinkLeaf)
}

// parseLinkSub reads [origin] [account] subject [queue weight].
func parseLinkSub(p *Parser, op *Op, line []byte, origin bool) error {
	var a [maxArgs + 1][]byte
	n := splitLink(p, op, line, origin, &a)
	switch n {
	case 1:
	case 3:
		op.Queue = a[1]
		op.Weight = int32(min(max(ParseSize(a[2]), 0), maxWeight))
	default:
		return argErr("processRemoteSub Parse Error", line)
	}
	op.Subject = a[0]
	return nil
}

// maxWeight bounds the members that a server may claim for a queue group: its
// list is as long as the sum of the weights.
const maxWeight = 1 << 16

func parseRUnsub(p *Parser, op *Op, line []byte) error {
	return parseLinkUnsub(p, op, line, false)
}

func parseLUnsub(p *Parser, op *Op, line []byte) error {
	return parseLinkUnsub(p, op, line, p.Link != LinkLeaf)
}

// parseLinkUnsub reads [origin] [account] subject [queue].
func parseLinkUnsub(p *Parser, op *Op, line []byte, origin bool) error {
	var a [maxArgs + 1][]byte
	n := splitLink(p, op, line, origin, &a)
	switch n {
	case 1:
	case 2:
		op.Queue = a[1]
	default:
		return argErr("processRemoteUnsub Parse Error", line)
	}
	op.Subject = a[0]
	return nil
}

// splitLink takes off origin and account and splits what is left into a.
func splitLink(p *Parser, op *Op, line []byte, origin bool, a *[maxArgs + 1][]byte) int {
	s := splitter{rest: line}
	if origin {
		op.Origin = s.next()
	}
	if p.Link == LinkRoute || p.Link == LinkGateway {
		op.Account = s.next()
	}
	n := 0
	for n < len(a) {
		if a[n] = s.next(); a[n] == nil {
			break
		}
		n++
	}
	return n
}

func parseAccount(_ *Parser, op *Op, line []byte) error {
	s := splitter{rest: line}
	if op.Account = s.next(); op.Account == nil || s.next() != nil {
		return argErr("processAccountSub Parse Error", line)
	}
	return nil
}

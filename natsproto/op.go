package natsproto

// Kind says what an [Op] is.
type Kind uint8

const (
	OpConnect      Kind = iota + 1 // CONNECT {json}: Arg
	OpInfo                         // INFO {json}: Arg
	OpPing                         // PING
	OpPong                         // PONG
	OpOK                           // +OK
	OpErr                          // -ERR text: Arg
	OpPub                          // PUB, HPUB: Subject, Reply, Body, HdrLen
	OpSub                          // SUB: Subject, Queue, SID
	OpUnsub                        // UNSUB: SID, Max
	OpRouteMsg                     // RMSG, HMSG, LMSG: Origin, Account, Subject, Reply, Queues, Body, HdrLen
	OpRouteSub                     // RS+, LS+: Origin, Account, Subject, Queue, Weight
	OpRouteUnsub                   // RS-, LS-: Origin, Account, Subject, Queue
	OpAccountSub                   // A+: Account
	OpAccountUnsub                 // A-: Account
)

// Op is one operation of the peer. Its slices point into the buffer given to
// [Parser.Next] or into the parser and are valid until the next call of Next;
// whoever keeps one copies it.
type Op struct {
	Kind Kind
	// Verb as the protocol writes it ("PUB", "HPUB", "LS+", ...), for traces.
	Verb string
	// Arg is the text between verb and line end as received, without the
	// whitespace around it.
	Arg []byte

	Subject []byte
	Reply   []byte
	Queue   []byte
	SID     []byte
	// Max of UNSUB; 0 when absent or not a number.
	Max int

	// Origin is the leaf cluster of LMSG, LS+ and LS- on routes.
	Origin  []byte
	Account []byte
	// Queues of a message between servers: the groups to deliver to.
	Queues [][]byte
	// Weight of a queue subscription between servers, 0 if not a number.
	Weight int32

	// HdrLen is the length of the header block at the start of Body.
	HdrLen int
	// Body is the header block and the payload, without the final CR LF.
	Body []byte
	// Size is the declared length of Body.
	Size int
}

// begin empties op for a line of the verb v. A PUB after a PUB clears only what
// not every PUB sets: clearing all of it takes as long as reading a short line.
func (o *Op) begin(v *verb, line []byte) {
	if o.Kind == OpPub && v.kind == OpPub {
		o.Verb, o.Arg, o.Reply, o.Body, o.HdrLen = v.name, line, nil, nil, 0
		return
	}
	*o = Op{Kind: v.kind, Verb: v.name, Arg: line}
}

// Header is the header block of a message, nil if there is none.
func (o *Op) Header() []byte {
	if o.HdrLen == 0 {
		return nil
	}
	return o.Body[:o.HdrLen:o.HdrLen]
}

// Payload is the message without its header block.
func (o *Op) Payload() []byte { return o.Body[o.HdrLen:] }

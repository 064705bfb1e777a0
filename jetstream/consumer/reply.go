package consumer

import (
	"bytes"
	"strconv"
)

// AckSubject is what an ack subject names. The slices point into the subject.
type AckSubject struct {
	Domain, Hash     []byte // of the longer form, else nil
	Stream, Consumer []byte
	Deliveries       uint64
	Seq              uint64 // stream sequence
	ConsumerSeq      uint64
}

const ackRoot = "$JS.ACK."

// ParseAckSubject takes apart "$JS.ACK.<stream>.<consumer>.<deliveries>.<stream
// seq>.<consumer seq>.<timestamp>.<pending>" and the form with domain and
// account hash in front. routed is false if the subject has neither form;
// numeric is false if a sequence is not a number.
func ParseAckSubject(subject []byte) (a AckSubject, routed, numeric bool) {
	if !bytes.HasPrefix(subject, []byte(ackRoot)) {
		return a, false, false
	}
	var tok [9][]byte
	rest, n := subject[len(ackRoot):], 0
	for n < len(tok) {
		t, after, more := bytes.Cut(rest, []byte{'.'})
		tok[n] = t
		n++
		rest = after
		if !more {
			break
		}
	}
	t := tok[:n]
	switch {
	case n == 7:
	case n == 9:
		a.Domain, a.Hash = t[0], t[1]
		t = t[2:]
	default:
		return a, false, false
	}
	a.Stream, a.Consumer = t[0], t[1]
	var ok [3]bool
	a.Deliveries, ok[0] = number(t[2])
	a.Seq, ok[1] = number(t[3])
	a.ConsumerSeq, ok[2] = number(t[4])
	return a, true, ok == [3]bool{true, true, true}
}

// number parses decimal digits; anything else, and overflow, is not a number.
func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if c < '0' || c > '9' || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// replyText makes the ack subjects of one consumer's deliveries.
type replyText struct {
	sseq, dseq, pending decimal
	stamp               moment
}

// append appends the ack subject of a delivery.
func (r *replyText) append(dst []byte, prefix string, count uint32, sseq, dseq uint64, stamp int64, pending uint64) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendUint(dst, uint64(count), 10)
	dst = append(dst, '.')
	dst = r.sseq.append(dst, sseq)
	dst = append(dst, '.')
	dst = r.dseq.append(dst, dseq)
	dst = append(dst, '.')
	dst = r.stamp.append(dst, stamp)
	dst = append(dst, '.')
	return r.pending.append(dst, pending)
}

package jetstream

import (
	"encoding/json"
	"strconv"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// pubAck is the answer to one publish, without its reply subject.
type pubAck struct {
	seq       uint64
	duplicate bool
	batch     string // batch id
	count     uint64 // of messages in the batch
	value     string // of a counter
}

// ackPrefix is what every success of a stream begins with, up to the sequence.
func ackPrefix(stream, domain string) []byte {
	b := append([]byte(`{"stream":`), quote(stream)...)
	if domain != "" {
		b = append(append(b, `,"domain":`...), quote(domain)...)
	}
	return append(b, `,"seq":`...)
}

// appendTo writes the ack as JSON behind dst; prefix is the stream's ackPrefix.
func (a *pubAck) appendTo(dst, prefix []byte) []byte {
	dst = append(dst, prefix...)
	dst = strconv.AppendUint(dst, a.seq, 10)
	if a.duplicate {
		dst = append(dst, `,"duplicate": true`...)
	}
	if a.batch != "" {
		dst = append(append(dst, `,"batch":`...), quote(a.batch)...)
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendUint(dst, a.count, 10)
	}
	if a.value != "" {
		dst = append(append(append(dst, `,"val":"`...), a.value...), '"')
	}
	return append(dst, '}')
}

// appendPubError writes a refusal behind dst.
func appendPubError(dst []byte, stream string, err *jsapi.Error) []byte {
	dst = append(dst, `{"error":`...)
	dst = appendError(dst, err)
	dst = append(dst, `,"stream":`...)
	dst = append(dst, quote(stream)...)
	return append(dst, `,"seq":0}`...)
}

func appendError(dst []byte, err *jsapi.Error) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(err.Code), 10)
	dst = append(dst, `,"err_code":`...)
	dst = strconv.AppendInt(dst, int64(err.ErrCode), 10)
	dst = append(dst, `,"description":`...)
	dst = append(dst, quote(err.Description)...)
	return append(dst, '}')
}

// quote is s as a JSON string.
func quote(s string) []byte {
	b, _ := json.Marshal(s) // a string always marshals
	return b
}

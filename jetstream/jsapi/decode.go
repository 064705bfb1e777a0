package jsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Decode parses the JSON body of a request into v. Members that v does not have
// are an error if strict; otherwise the second result says what was ignored, for
// the log. The error is [ErrInvalidJSON] with encoding/json's text, which is
// the one clients know.
func Decode(body []byte, v any, strict bool) (ignored string, err *Error) {
	e := decodeOnce(body, v, true)
	if e == nil {
		return "", nil
	}
	if !strict && IsUnknownField(e) {
		if e2 := decodeOnce(body, v, false); e2 != nil {
			return "", ErrInvalidJSON.With(describe(e2))
		}
		return e.Error(), nil
	}
	return "", ErrInvalidJSON.With(describe(e))
}

// IsJSON reports whether the first byte that is not a space begins an object
// or an array; endpoints with an optional body ignore any other.
func IsJSON(body []byte) bool {
	t := bytes.TrimLeft(body, " \t\r\n")
	return len(t) > 0 && (t[0] == '{' || t[0] == '[')
}

// IsUnknownField reports whether err is encoding/json's for a member that the
// type does not have.
func IsUnknownField(err error) bool {
	return strings.HasPrefix(err.Error(), "json: unknown field ")
}

func decodeOnce(body []byte, v any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("unexpected end of JSON input")
		}
		return err
	}
	if rest := bytes.TrimLeft(body[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("invalid character %q after top-level value", rest[0])
	}
	return nil
}

func describe(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("%v at offset %d", err, syntax.Offset)
	}
	return err.Error()
}

// The first and the last time that JSON can tell, in UTC.
var (
	firstTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

// UTC is t in UTC. A time of a request that is in the years that JSON can tell
// only where its own zone is becomes the nearest one that is.
func UTC(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t.UTC()
}

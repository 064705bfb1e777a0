package jsapi

import (
	"errors"
	"fmt"
	"strings"
)

//go:generate go run gen_errors.go

// Error is the error object of an API reply. The values of the table
// (errors_table.go) are shared: never change one, make another by [Error.With].
type Error struct {
	Code        int    `json:"code"` // class, as an HTTP status: 400, 404, 409, 412, 429, 500, 503
	ErrCode     uint16 `json:"err_code,omitempty"`
	Description string `json:"description,omitempty"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Is reports whether target is the same error, whatever its text was made of.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.ErrCode == e.ErrCode
}

// With returns a copy whose {placeholders} are replaced, in order, by the
// values as fmt.Sprint writes them.
func (e *Error) With(values ...any) *Error {
	text := e.Description
	var b strings.Builder
	for _, v := range values {
		open := strings.IndexByte(text, '{')
		if open < 0 {
			break
		}
		end := open + strings.IndexByte(text[open:], '}')
		b.WriteString(text[:open])
		fmt.Fprint(&b, v)
		text = text[end+1:]
	}
	b.WriteString(text)
	return &Error{e.Code, e.ErrCode, b.String()}
}

// Wrap gives err to a client: an [Error] inside err is returned as it is,
// anything else becomes the text of this template. Wrap(nil) is nil.
func (e *Error) Wrap(err error) *Error {
	if err == nil {
		return nil
	}
	var api *Error
	if errors.As(err, &api) {
		return api
	}
	text := err.Error()
	if strings.IndexByte(e.Description, '{') < 0 {
		return e
	}
	return e.With(text)
}

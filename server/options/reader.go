package options

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// reader interprets a tree and collects what is wrong with it.
type reader struct {
	warnings []string
	errors   []string

	// What several blocks must agree on.
	storeDir     bool                // a store_dir was seen
	names        map[string]struct{} // of users, with their kind
	singleUser   bool                // authorization has a single user
	token        bool                // authorization has a token
	accountUsers bool                // an account has users
	callout      *AuthCallout        // whose allowed accounts are checked at the end
}

// errorText is an error without more to it.
type errorText string

func (e errorText) Error() string { return string(e) }

// typeError is a value of another type than wanted. It ends the block.
type typeError struct {
	got, want conf.Kind
}

func (e *typeError) Error() string {
	return fmt.Sprintf("interface conversion: interface {} is %s, not %s", e.got, e.want)
}

// ending is an error that ends the block.
type ending struct{ error }

func (e ending) Unwrap() error { return e.error }

// errPlain is an error that is reported without a position.
type errPlain struct{ error }

// placed is an error with a position of its own, which is not that of the key.
type placed struct {
	error
	pos conf.Pos
}

func (e placed) Unwrap() error { return e.error }

// at places an error at an element of a list.
func at(v *conf.Value, err error) error { return placed{err, v.Pos} }

// add collects an error.
func (r *reader) add(pos conf.Pos, err error) {
	var plain errPlain
	var own placed
	switch {
	case errors.As(err, &own): // the outermost place counts
		r.errors = append(r.errors, own.pos.String()+": "+err.Error())
	case errors.As(err, &plain):
		r.errors = append(r.errors, err.Error())
	default:
		r.errors = append(r.errors, pos.String()+": "+err.Error())
	}
}

func (r *reader) errorf(pos conf.Pos, format string, args ...any) {
	r.add(pos, fmt.Errorf(format, args...))
}

// warnf collects a warning.
func (r *reader) warnf(pos conf.Pos, format string, args ...any) {
	r.warnings = append(r.warnings, pos.String()+": "+fmt.Sprintf(format, args...))
}

// misuse collects a warning about a field.
func (r *reader) misuse(pos conf.Pos, field, format string, args ...any) {
	r.warnf(pos, "invalid use of field %q: %s", field, fmt.Sprintf(format, args...))
}

func asString(v *conf.Value) (string, error) {
	if v.Kind != conf.String {
		return "", &typeError{got: v.Kind, want: conf.String}
	}
	return v.Str, nil
}

func asBool(v *conf.Value) (bool, error) {
	if v.Kind != conf.Bool {
		return false, &typeError{got: v.Kind, want: conf.Bool}
	}
	return v.Bool, nil
}

func asInt(v *conf.Value) (int64, error) {
	if v.Kind != conf.Int {
		return 0, &typeError{got: v.Kind, want: conf.Int}
	}
	return v.Int, nil
}

func asMap(v *conf.Value) error {
	if v.Kind != conf.Map {
		return &typeError{got: v.Kind, want: conf.Map}
	}
	return nil
}

// asBlock is asMap for a block within another one, which goes on behind an error.
func asBlock(v *conf.Value) error {
	if err := asMap(v); err != nil {
		return errorText(err.Error())
	}
	return nil
}

func asArray(v *conf.Value) error {
	if v.Kind != conf.Array {
		return &typeError{got: v.Kind, want: conf.Array}
	}
	return nil
}

// asStrings returns a string or a list of strings; what is told in the error about anything else.
func asStrings(v *conf.Value, what string) ([]string, error) {
	switch v.Kind {
	case conf.String:
		return []string{v.Str}, nil
	case conf.Array:
		list := make([]string, 0, len(v.Elems))
		for _, e := range v.Elems {
			if e.Kind != conf.String {
				return nil, at(e, fmt.Errorf("error parsing %s: unsupported type in array %s", what, e.Kind))
			}
			list = append(list, e.Str)
		}
		return list, nil
	}
	return nil, fmt.Errorf("error parsing %s: unsupported type %s", what, v.Kind)
}

// elements returns the strings of a list.
func elements(v *conf.Value) ([]string, error) {
	if err := asArray(v); err != nil {
		return nil, err
	}
	list := make([]string, 0, len(v.Elems))
	for _, e := range v.Elems {
		s, err := asString(e)
		if err != nil {
			return nil, at(e, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// duration returns the duration of an entry.
func (r *reader) duration(e *conf.Entry) (time.Duration, error) {
	field := strings.ToLower(e.Key)
	if e.Value.Kind == conf.String {
		d, err := time.ParseDuration(e.Value.Str)
		if err != nil {
			return 0, fmt.Errorf("error parsing %s: %w", field, err)
		}
		return d, nil
	}
	r.misuse(e.Pos, field, "%s should be converted to a duration", field)
	n, err := asInt(e.Value)
	if err != nil {
		return 0, err
	}
	return seconds(float64(n)), nil
}

// seconds returns a number of seconds as a duration; what is too much becomes the longest.
func seconds(n float64) time.Duration {
	const longest = time.Duration(1<<63 - 1)
	if n*float64(time.Second) >= float64(longest) {
		return longest
	}
	return time.Duration(n * float64(time.Second))
}

// errTimeoutType is the error of asTimeout about a value of another type.
var errTimeoutType = errorText("wrong type")

// asTimeout returns a number of seconds or a duration.
func asTimeout(v *conf.Value) (time.Duration, error) {
	switch v.Kind {
	case conf.Int:
		return seconds(float64(v.Int)), nil
	case conf.Float:
		return seconds(v.Float), nil
	case conf.String:
		return time.ParseDuration(v.Str)
	}
	return 0, errTimeoutType
}

// asListen returns host and port; the host is nil if only a port was given.
func asListen(v *conf.Value) (*string, int, error) {
	switch v.Kind {
	case conf.Int:
		return nil, int(v.Int), nil
	case conf.String:
		host, port, err := net.SplitHostPort(v.Str)
		if err != nil {
			return nil, 0, fmt.Errorf("could not parse address string %q", v.Str)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, 0, fmt.Errorf("could not parse port %q", port)
		}
		return &host, n, nil
	}
	return nil, 0, fmt.Errorf("expected port or host:port, got %s", v.Kind)
}

// asSize returns a storage size: an integer, or text with a letter.
func asSize(name string, v *conf.Value) (int64, error) {
	switch v.Kind {
	case conf.Int:
		return v.Int, nil
	case conf.String:
		if v.Str == "" {
			return 0, nil
		}
		digits, unit := v.Str[:len(v.Str)-1], v.Str[len(v.Str)-1]
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s %w", name, err)
		}
		shift := strings.IndexByte("KMGT", unit)
		if shift < 0 {
			return 0, fmt.Errorf("%s sizes defined as strings must end in K, M, G, T", name)
		}
		factor := int64(1) << (10 * (shift + 1))
		if n > (1<<63-1)/factor || n < -(1<<63-1)/factor {
			return 0, fmt.Errorf("%s strconv.ParseInt: parsing %q: value out of range", name, digits)
		}
		return n * factor, nil
	}
	return 0, fmt.Errorf("%s must be int64 or string", name)
}

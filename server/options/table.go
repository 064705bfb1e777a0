package options

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/natsd/natsd/server/conf"
)

// Option describes one key of a block: what the reference and the usage text say about it.
type Option struct {
	Name    string
	Aliases []string
	Type    string // in the words of the reference
	Doc     string
	Default string // where it is not the zero value; "" if Default() tells
	Since   string // first release that knows the key; "" is the first of all
	Range   string
	Secret  bool // its value is never printed
	Reload  Rule
}

// row is an option of a block whose values are kept in a T.
type row[T any] struct {
	Option
	set   func(r *reader, e *conf.Entry, dst *T) error
	get   func(*T) any      // the value, for its default; nil: nothing to show
	reset func(dst, def *T) // takes the default over where dst has 0, which means "default"; nil: 0 is a value
	block blockDoc          // the table of the value, if it is a block
}

// table is the options of a block.
type table[T any] struct {
	name string
	rows []*row[T]
	// unknown formats the error about a key that is not in the table.
	unknown string
	// strict: a key that only serves as a variable is an error, too.
	strict bool
	// caseSensitive: keys are matched as they are written.
	caseSensitive bool
	// lax: unknown keys are ignored.
	lax bool
	// atBlock: type errors are reported at the block's key.
	atBlock bool
	// outward: type errors are returned; they end the enclosing block, too.
	outward bool
	// stops: any error ends the block, but those about unknown keys.
	stops bool
	// single: the first error ends the block.
	single bool

	index map[string]*row[T]
}

// stopping makes any error end a block, but those about unknown keys.
func stopping[T any](t *table[T]) *table[T] { t.stops = true; return t }

const unknownField = "unknown field %q"

// newTable makes a table; the names of its rows must be unique.
func newTable[T any](name string, rows ...*row[T]) *table[T] {
	t := &table[T]{name: name, rows: rows, unknown: unknownField, index: make(map[string]*row[T])}
	for _, r := range rows {
		for _, n := range append([]string{r.Name}, r.Aliases...) {
			if t.index[n] != nil {
				panic("option " + name + "." + n + " is described twice")
			}
			t.index[n] = r
		}
	}
	return t
}

// lookup finds the row of a key.
func (t *table[T]) lookup(key string) *row[T] {
	if !t.caseSensitive {
		key = strings.ToLower(key)
	}
	return t.index[key]
}

// errEnded tells that an error ended a block before its end.
var errEnded = errors.New("the block has not been read to its end")

// read reads the items of a block. Errors are collected; one of a wrong type ends the block, which is what errEnded says.
// Another error is returned only by tables whose errors are outward.
func (t *table[T]) read(r *reader, block *conf.Entry, dst *T) error {
	for _, e := range block.Value.Items {
		row := t.lookup(e.Key)
		if row == nil {
			if t.lax || e.Used && !t.strict {
				continue
			}
			r.errorf(e.Pos, t.unknown, e.Key)
			if t.single {
				return errEnded
			}
			continue
		}
		err := row.set(r, e, dst)
		if err == nil {
			continue
		}
		var mismatch *typeError
		wrongType := errors.As(err, &mismatch)
		if wrongType && t.outward {
			return err
		}
		pos := e.Pos
		if wrongType && t.atBlock {
			pos, err = block.Pos, mismatch
		}
		r.add(pos, err)
		if t.single || t.stops || wrongType && t.name != "" || errors.As(err, new(ending)) {
			return errEnded
		}
	}
	return nil
}

// resetZeros replaces zeros that mean the default.
func (t *table[T]) resetZeros(dst, def *T) {
	for _, row := range t.rows {
		if row.reset != nil {
			row.reset(dst, def)
		}
	}
}

// blockDoc is a table of any type, for the reference.
type blockDoc interface {
	// options returns the rows with the defaults shown, and the blocks below.
	options() []documented
}

// documented is an option with what the reference needs.
type documented struct {
	Option
	block blockDoc
}

func (t *table[T]) options() []documented { return t.documentedWith(nil) }

// documentedWith shows the defaults that def has.
func (t *table[T]) documentedWith(def *T) []documented {
	docs := make([]documented, len(t.rows))
	for i, row := range t.rows {
		docs[i] = documented{row.Option, row.block}
		if docs[i].Default == "" && row.get != nil && def != nil {
			docs[i].Default = shownValue(row.get(def))
		}
	}
	return docs
}

// shownValue formats a value for the reference; zero values are not worth showing.
func shownValue(v any) string {
	switch v := v.(type) {
	case string:
		if v == "" {
			return ""
		}
		return fmt.Sprintf("%q", v)
	case bool:
		return fmt.Sprint(v)
	case int64, int:
		return fmt.Sprint(v)
	case time.Duration:
		if v == 0 {
			return ""
		}
		return shortDuration(v)
	}
	return ""
}

// shortDuration formats a duration without units that are zero.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// The methods below complete a row; each returns it.

func (r *row[T]) alias(names ...string) *row[T] { r.Aliases = names; return r }
func (r *row[T]) doc(text string) *row[T]       { r.Doc = text; return r }
func (r *row[T]) since(version string) *row[T]  { r.Since = version; return r }
func (r *row[T]) limits(text string) *row[T]    { r.Range = text; return r }
func (r *row[T]) def(text string) *row[T]       { r.Default = text; return r }
func (r *row[T]) secret() *row[T]               { r.Secret = true; return r }
func (r *row[T]) of(b blockDoc) *row[T]         { r.block = b; return r }

// value says how to get the value, for its default and to compare it.
func (r *row[T]) value(get func(*T) any) *row[T] { r.get = get; return r }

// check adds a condition on the value that was just set; its error is reported at the key.
func (r *row[T]) check(cond func(key string, dst *T) error) *row[T] {
	set := r.set
	r.set = func(rd *reader, e *conf.Entry, dst *T) error {
		if err := set(rd, e, dst); err != nil {
			return err
		}
		return cond(e.Key, dst)
	}
	return r
}

// custom is a row with its own way of reading.
func custom[T any](name, typ string, set func(r *reader, e *conf.Entry, dst *T) error) *row[T] {
	return &row[T]{Option: Option{Name: name, Type: typ}, set: set}
}

func str[T any](name string, at func(*T) *string) *row[T] {
	return &row[T]{
		Option: Option{Name: name, Type: "string"},
		set: func(r *reader, e *conf.Entry, dst *T) error {
			s, err := asString(e.Value)
			*at(dst) = s
			return err
		},
		get: func(t *T) any { return *at(t) },
	}
}

func boolean[T any](name string, at func(*T) *bool) *row[T] {
	return &row[T]{
		Option: Option{Name: name, Type: "boolean"},
		set: func(r *reader, e *conf.Entry, dst *T) error {
			b, err := asBool(e.Value)
			*at(dst) = b
			return err
		},
		get: func(t *T) any { return *at(t) },
	}
}

func integer[T any, I int | int64](name string, at func(*T) *I) *row[T] {
	return &row[T]{
		Option: Option{Name: name, Type: "integer"},
		set: func(r *reader, e *conf.Entry, dst *T) error {
			n, err := asInt(e.Value)
			*at(dst) = I(n)
			return err
		},
		get: func(t *T) any { return *at(t) },
	}
}

// orDefault is an integer whose 0 means the default.
func orDefault[T any, I int | int64](name string, at func(*T) *I) *row[T] {
	r := integer(name, at)
	r.reset = func(dst, def *T) {
		if *at(dst) == 0 {
			*at(dst) = *at(def)
		}
	}
	return r
}

// duration reads a duration, or a number of seconds with a warning.
func duration[T any](name string, at func(*T) *time.Duration) *row[T] {
	return &row[T]{
		Option: Option{Name: name, Type: "duration"},
		set: func(r *reader, e *conf.Entry, dst *T) error {
			d, err := r.duration(e)
			*at(dst) = d
			return err
		},
		get: func(t *T) any { return *at(t) },
	}
}

// orDefaultDuration is a duration whose 0 means the default.
func orDefaultDuration[T any](name string, at func(*T) *time.Duration) *row[T] {
	r := duration(name, at)
	r.reset = func(dst, def *T) {
		if *at(dst) == 0 {
			*at(dst) = *at(def)
		}
	}
	return r
}

// durationText reads a duration that must be a string.
func durationText[T any](name string, at func(*T) *time.Duration) *row[T] {
	r := orDefaultDuration(name, at)
	r.Type = "duration text"
	r.set = func(_ *reader, e *conf.Entry, dst *T) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("error parsing %s: %w", strings.ToLower(e.Key), err)
		}
		*at(dst) = d
		return nil
	}
	return r
}

// stringList reads a string or a list of strings; what names them in the error.
func stringList[T any](name, what string, at func(*T) *[]string) *row[T] {
	return &row[T]{
		Option: Option{Name: name, Type: "string or list"},
		set: func(_ *reader, e *conf.Entry, dst *T) error {
			list, err := asStrings(e.Value, what)
			if err != nil {
				return err
			}
			*at(dst) = list
			return nil
		},
	}
}

// listen reads an address or a port.
func listen[T any](name string, at func(*T) (host *string, port *int)) *row[T] {
	return custom(name, "address", func(_ *reader, e *conf.Entry, dst *T) error {
		host, port, err := asListen(e.Value)
		if err != nil {
			return err
		}
		h, p := at(dst)
		*p = port
		if host != nil {
			*h = *host
		}
		return nil
	})
}

// writeTimeout reads what happens after the write deadline.
func writeTimeout[T any](at func(*T) *WriteTimeout) *row[T] {
	return custom("write_timeout", "string", func(_ *reader, e *conf.Entry, dst *T) error {
		s, err := asString(e.Value)
		if err != nil {
			return err
		}
		i := slices.Index([]string{"default", "close", "retry"}, strings.ToLower(s))
		if i < 0 {
			return errorText("write_timeout must be 'default', 'close' or 'retry'")
		}
		*at(dst) = WriteTimeout(i)
		return nil
	}).doc("what happens to a connection whose write takes longer than the deadline: `close`, `retry`, or `default`: close for clients, retry for links between servers").since("2.11.12").def(`"default"`)
}

package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what is accepted. Hand-written files stay far below them; they keep a hostile or broken text from exhausting
// the stack (nesting) or memory (variables that multiply).
const (
	maxNesting = 1000
	maxNodes   = 20_000_000
)

var (
	errNesting = fmt.Errorf("values are nested deeper than %d", maxNesting)
	errNodes   = fmt.Errorf("more than %d values", maxNodes)
)

// ParseFile reads a file and all that it includes.
func ParseFile(path string) (*Value, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(string(text), path, []string{identity(path)}, nil)
}

// Parse reads a text; name stands for it in positions, and its directory is where included files are looked for.
func Parse(text, name string) (*Value, error) {
	return parse(text, name, nil, nil)
}

// parse reads one text. files are the identities of those that are being read, pending the environment variables.
func parse(text, name string, files, pending []string) (*Value, error) {
	p := &parser{
		scanner: scanner{file: name, text: text, line: 1},
		files:   files,
		pending: pending,
	}
	top := newScope()
	p.scopes = append(p.scopes, top)
	if err := p.topLevel(); err != nil {
		return nil, err
	}
	return top.value(p.here())
}

// identity names a file for the detection of cycles.
func identity(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// parser reads one text.
type parser struct {
	scanner
	scopes  []*scope // maps that enclose the place, outermost first
	depth   int      // of maps and arrays
	inArray bool     // the place is directly in an array
	files   []string
	pending []string
}

// scope is a map that is being read.
type scope struct {
	items []*Entry       // a replaced one is nil
	index map[string]int // into items
	nodes int
}

func newScope() *scope { return &scope{index: map[string]int{}, nodes: 1} }

// set defines a key; an earlier definition is forgotten.
func (s *scope) set(e *Entry) {
	if i, ok := s.index[e.Key]; ok {
		s.nodes -= s.items[i].Value.nodes
		s.items[i] = nil
	}
	s.index[e.Key] = len(s.items)
	s.items = append(s.items, e)
	s.nodes += e.Value.nodes
}

// value returns the map, which ends before pos.
func (s *scope) value(pos Pos) (*Value, error) {
	if s.nodes > maxNodes {
		return nil, errNodes
	}
	items := make([]*Entry, 0, len(s.index))
	for _, e := range s.items {
		if e != nil {
			items = append(items, e)
		}
	}
	return &Value{Kind: Map, Pos: pos, Items: items, nodes: s.nodes}, nil
}

// topLevel reads the items of a file. A pair of braces around them changes only what an error says.
func (p *parser) topLevel() error {
	level := "top-level"
	for {
		p.skipSpace()
		r, ok := p.peek()
		switch {
		case !ok:
			return nil
		case r == '{' && level == "top-level":
			p.next()
			level = "block-level"
			continue
		case r == '}' && level == "block-level":
			p.next()
			level = "top-level"
			if err := p.endOfItem(&level); err != nil {
				return err
			}
			continue
		case r == '/':
			p.next()
			return p.errorf("Unexpected EOF.")
		}
		braces := r == '}'
		key, pos, err := p.key("")
		if err != nil {
			return err
		}
		if key == nil {
			if err := p.include(); err != nil {
				return err
			}
		} else if done, err := p.topValue(*key, pos, braces); done || err != nil {
			return err
		}
		if err := p.endOfItem(&level); err != nil {
			return err
		}
	}
}

// topValue reads the value of a key of the top level; done tells that the text ended without one.
func (p *parser) topValue(key string, pos Pos, brace bool) (done bool, err error) {
	p.skip(isSpace)
	explicit := p.separator()
	if explicit {
		p.skip(func(r rune) bool { return isSpace(r) && !isNewline(r) })
		if r, ok := p.peek(); ok && isNewline(r) {
			p.next()
			return false, p.errorf("Expected value but found new line")
		}
	}
	if p.atEnd() && !explicit {
		if brace && key == "}" {
			return true, nil
		}
		return false, fmt.Errorf("config is invalid (%s)", p.here())
	}
	v, err := p.value()
	if err != nil {
		return false, err
	}
	p.scopes[len(p.scopes)-1].set(&Entry{Key: key, Pos: pos, Value: v})
	return false, nil
}

// separator reads an equals sign or a colon.
func (p *parser) separator() bool {
	r, _ := p.peek()
	if r == '=' || r == ':' {
		p.next()
		return true
	}
	return false
}

// behind returns the rune that an error about the end of a value shows: a slash counts as the beginning of a comment, so
// the one behind it is the wrong one.
func (p *parser) behind(r rune) rune {
	if r == '/' {
		return p.next()
	}
	return r
}

// endOfItem reads what ends an item of the top level. A brace ends the wrapping of the file.
func (p *parser) endOfItem(level *string) error {
	for {
		p.skip(isBlank)
		if p.skipComment() {
			return nil
		}
		end := p.atEnd()
		switch r := p.next(); {
		case end, isNewline(r), r == ';', r == ',':
			return nil
		case r == '}':
			*level = "top-level"
			return nil
		default:
			return p.errorf("Expected a %s value to end with a new line, comment or EOF, but got '%s' instead.", *level, shown(p.behind(r)))
		}
	}
}

// key reads a key; nil without an error is the word include. In a map, dot is "." and ends an error about a separator.
func (p *parser) key(dot string) (*string, Pos, error) {
	r, _ := p.peek()
	switch r {
	case '=', ':':
		p.next()
		return nil, Pos{}, p.errorf("Unexpected key separator '%s'%s", shown(r), dot)
	case '"', '\'':
		p.next()
		pos := p.here()
		start := p.pos
		for {
			if p.atEnd() {
				kind := ""
				if r == '"' {
					kind = "double "
				}
				if dot == "" {
					return nil, Pos{}, p.errorf("Unexpected EOF.")
				}
				return nil, Pos{}, p.errorf("Unexpected EOF processing %squoted map key.", kind)
			}
			if p.next() == r {
				key := p.text[start : p.pos-1]
				return &key, pos, nil
			}
		}
	}
	pos, start := p.here(), p.pos
	p.next()
	p.skip(func(r rune) bool { return !isSpace(r) && r != '=' && r != ':' })
	key := p.text[start:p.pos]
	r, ok := p.peek()
	if !ok && dot != "" {
		return nil, Pos{}, p.errorf("Unexpected EOF processing map key.")
	}
	if ok && isSpace(r) && strings.EqualFold(key, "include") {
		return nil, pos, nil
	}
	return &key, pos, nil
}

// value reads a value that begins with the next rune.
func (p *parser) value() (*Value, error) {
	r, _ := p.peek()
	switch {
	case r == '[':
		return p.array()
	case r == '{':
		return p.mapping()
	case r == '"':
		return p.doubleQuoted()
	case r == '\'':
		return p.singleQuoted()
	case r == '(':
		return p.block()
	case r == '-' || isDigit(r):
		return p.number()
	case r == '.':
		p.next()
		return nil, p.errorf("Floats must start with a digit")
	}
	return p.word(p.pos, p.here())
}

// nested runs the reading of a map or array one level deeper.
func (p *parser) nested(inArray bool, read func() (*Value, error)) (*Value, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, errNesting
	}
	before := p.inArray
	p.inArray = inArray
	v, err := read()
	p.inArray = before
	p.depth--
	return v, err
}

func (p *parser) array() (*Value, error) {
	return p.nested(true, func() (*Value, error) {
		a := &Value{Kind: Array, nodes: 1}
		p.next()
		for {
			p.skipSpace()
			switch r, ok := p.peek(); {
			case !ok:
				_, err := p.endOfElement()
				return nil, err
			case r == ',':
				p.next()
				return nil, p.errorf("Unexpected array value terminator ','.")
			case r == ']':
				p.next()
				a.Pos = p.here()
				return a, nil
			}
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			a.Elems = append(a.Elems, v)
			if a.nodes += v.nodes; a.nodes > maxNodes {
				return nil, errNodes
			}
			if done, err := p.endOfElement(); done || err != nil {
				a.Pos = p.here()
				return a, err
			}
		}
	})
}

// endOfElement reads what ends an element of an array, and tells whether the array ends.
func (p *parser) endOfElement() (bool, error) {
	p.skip(isBlank)
	if p.skipComment() {
		return false, nil
	}
	switch r := p.next(); {
	case r == ',', isNewline(r):
		return false, nil
	case r == ']':
		return true, nil
	default:
		return false, p.errorf(`Expected an array value terminator "," or an array terminator "]", but got '%s' instead.`, shown(p.behind(r)))
	}
}

func (p *parser) mapping() (*Value, error) {
	return p.nested(false, func() (*Value, error) {
		m := newScope()
		p.next()
		p.scopes = append(p.scopes, m)
		defer func() { p.scopes = p.scopes[:len(p.scopes)-1] }()
		for {
			p.skipSpace()
			end := p.atEnd()
			switch r, _ := p.peek(); {
			case end:
				return nil, p.errorf("Unexpected EOF processing map.")
			case r == '}':
				p.next()
				return m.value(p.here())
			case r == ']':
				p.next()
				return nil, p.errorf("Unexpected array end ']' processing map.")
			}
			key, pos, err := p.key(".")
			if err != nil {
				return nil, err
			}
			if key == nil {
				if err := p.include(); err != nil {
					return nil, err
				}
			} else {
				p.skip(isSpace)
				if p.separator() {
					p.skip(isSpace)
				}
				if r, _ := p.peek(); r == ',' || r == '}' {
					p.next()
					return nil, p.errorf(`Unexpected map value terminator "%s".`, shown(r))
				}
				v, err := p.value()
				if err != nil {
					return nil, err
				}
				m.set(&Entry{Key: *key, Pos: pos, Value: v})
			}
			if done, err := p.endOfMapItem(); err != nil {
				return nil, err
			} else if done {
				return m.value(p.here())
			}
		}
	})
}

// endOfMapItem reads what ends an item of a map, and tells whether the map ends.
func (p *parser) endOfMapItem() (bool, error) {
	p.skip(isBlank)
	if p.skipComment() {
		return false, nil
	}
	switch r := p.next(); {
	case r == ',', r == ';', isNewline(r):
		return false, nil
	case r == '}':
		return true, nil
	default:
		return false, p.errorf(`Expected a map value terminator "," or a map terminator "}", but got '%s' instead.`, shown(p.behind(r)))
	}
}

func (p *parser) doubleQuoted() (*Value, error) {
	p.next()
	pos := p.here()
	var b strings.Builder
	for {
		if p.atEnd() {
			return nil, p.unclosed()
		}
		start := p.pos
		switch p.next() {
		case '"':
			return &Value{Kind: String, Pos: pos, Str: b.String(), nodes: 1}, nil
		case '\\':
			if err := p.escape(&b); err != nil {
				return nil, err
			}
		default:
			b.WriteString(p.text[start:p.pos])
		}
	}
}

func (p *parser) singleQuoted() (*Value, error) {
	p.next()
	pos, start := p.here(), p.pos
	n := strings.IndexByte(p.text[p.pos:], '\'')
	for !p.atEnd() && (n < 0 || p.pos <= start+n) {
		p.next()
	}
	if n < 0 {
		return nil, p.unclosed()
	}
	return &Value{Kind: String, Pos: pos, Str: p.text[start : start+n], nodes: 1}, nil
}

// unclosed is the error of a string without end.
func (p *parser) unclosed() error { return p.errorf("Unexpected EOF.") }

// block reads a block string: up to a closing parenthesis alone on its line.
func (p *parser) block() (*Value, error) {
	p.next()
	pos, start := p.here(), p.pos
	for !p.atEnd() {
		lineStart := p.lineStart == p.pos
		r := p.next()
		if r != ')' || !lineStart {
			continue
		}
		if r, ok := p.peek(); !ok || r == '\n' {
			return &Value{Kind: String, Pos: pos, Str: p.text[start : p.pos-1], nodes: 1}, nil
		}
	}
	return nil, p.errorf("Unexpected EOF processing block.")
}

// word reads an unquoted string whose first runes, from start on, may have been read already: a boolean, a reference, or
// text. One with an escape sequence, or with a quote behind it, is always text.
func (p *parser) word(start int, pos Pos) (*Value, error) {
	var b strings.Builder
	b.WriteString(p.text[start:p.pos])
	literal := false
	for {
		r, ok := p.peek()
		if !ok || endsWord(r) {
			break
		}
		from := p.pos
		p.next()
		if r == '\\' {
			literal = true
			if err := p.escape(&b); err != nil {
				return nil, err
			}
			continue
		}
		b.WriteString(p.text[from:p.pos])
	}
	if r, _ := p.peek(); r == '\'' {
		p.next()
		literal = true
	}
	text := b.String()
	if literal {
		return &Value{Kind: String, Pos: pos, Str: text, nodes: 1}, nil
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return &Value{Kind: Bool, Pos: pos, Bool: true, nodes: 1}, nil
	case "false", "no", "off":
		return &Value{Kind: Bool, Pos: pos, nodes: 1}, nil
	}
	if strings.HasPrefix(text, "$") && !strings.HasPrefix(text, bcryptPrefix) {
		return p.reference(text[1:], pos)
	}
	return &Value{Kind: String, Pos: pos, Str: text, nodes: 1}, nil
}

// bcryptPrefix begins a password hash, which is no reference.
const bcryptPrefix = "$2a$"

// reference looks a variable up: in the enclosing maps, then in the environment.
func (p *parser) reference(name string, pos Pos) (*Value, error) {
	for i := len(p.scopes) - 1; i >= 0; i-- {
		s := p.scopes[i]
		if j, ok := s.index[name]; ok {
			e := s.items[j]
			e.Used = true
			v := *e.Value
			v.Pos = pos
			return &v, nil
		}
	}
	text, ok := os.LookupEnv(name)
	if !ok {
		return nil, fmt.Errorf("variable reference for '%s' on line %d can not be found", name, pos.Line)
	}
	v, err := p.environment(name, text)
	if err != nil {
		return nil, fmt.Errorf("variable reference for '%s' on line %d could not be parsed: %w", name, pos.Line, err)
	}
	v.Pos = pos
	return v, nil
}

// environment reads the value of an environment variable, which may refer to others.
func (p *parser) environment(name, text string) (*Value, error) {
	for _, n := range p.pending {
		if n == name {
			return nil, fmt.Errorf("variable reference cycle for '%s'", name)
		}
	}
	pending := append(p.pending[:len(p.pending):len(p.pending)], name)
	top, err := parse("pk="+text, p.file, p.files, pending)
	if err != nil {
		return nil, err
	}
	for _, e := range top.Items {
		if e.Key == "pk" {
			v := *e.Value
			return &v, nil
		}
	}
	return nil, errors.New("no value")
}

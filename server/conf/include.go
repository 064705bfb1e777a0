package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// include reads the path behind the word include and inserts the items of that file into the map that is being read.
func (p *parser) include() error {
	path, err := p.includePath()
	if err != nil {
		return err
	}
	top, err := p.included(path)
	if err != nil {
		return fmt.Errorf("error parsing include file '%s', %w", path, err)
	}
	scope := p.scopes[len(p.scopes)-1]
	for _, e := range top.Items {
		scope.set(e)
	}
	return nil
}

// includePath reads the path.
func (p *parser) includePath() (string, error) {
	p.skip(func(r rune) bool { return isSpace(r) && !isNewline(r) })
	r, ok := p.peek()
	expected := ""
	switch {
	case !ok:
		return "", p.errorf("Unexpected EOF.")
	case isNewline(r):
		expected = "new line"
	case r == '[':
		expected = "start of an array"
	case r == '{':
		expected = "start of a map"
	case r == '(':
		expected = "start of a block"
	case r == '-', isDigit(r):
		expected = "start of a number"
	case r == '\\':
		expected = "escape sequence"
	}
	if expected != "" {
		p.next()
		return "", p.errorf("Expected include value but found %s", expected)
	}
	if r == '"' || r == '\'' {
		p.next()
		start := p.pos
		for !p.atEnd() {
			if p.next() == r {
				return p.text[start : p.pos-1], nil
			}
		}
		if r == '"' {
			return "", p.errorf("Unexpected EOF in double quoted include")
		}
		return "", p.errorf("Unexpected EOF in quoted include")
	}
	start := p.pos
	p.skip(func(r rune) bool { return !isSpace(r) && r != ';' && r != '}' && r != '\'' })
	path := p.text[start:p.pos]
	if r, _ := p.peek(); r == '\'' {
		p.next()
	}
	return path, nil
}

// included reads a file. Its path is relative to the including file; an absolute one is tried like that first, too.
func (p *parser) included(path string) (*Value, error) {
	resolved := filepath.Join(filepath.Dir(p.file), path)
	text, err := os.ReadFile(resolved)
	if errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(path) {
		if abs, e := os.ReadFile(path); e == nil {
			resolved, text, err = path, abs, nil
		}
	}
	if err != nil {
		return nil, err
	}
	id := identity(resolved)
	if slices.Contains(p.files, id) {
		return nil, errors.New("include cycle")
	}
	files := append(p.files[:len(p.files):len(p.files)], id)
	return parse(string(text), resolved, files, nil)
}

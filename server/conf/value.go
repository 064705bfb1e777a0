// Package conf reads the configuration language: text in, a tree of values with their positions out. It knows no option.
//
// The language is a superset of JSON with comments, unquoted words, size suffixes, variables and includes. Parse and
// ParseFile return the top level as a Map; every failure is an error with the text that operators know.
package conf

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Kind is the type of a value.
type Kind uint8

const (
	String Kind = iota
	Int
	Float
	Bool
	Time
	Map
	Array
)

// String returns the kind in the words of diagnostics.
func (k Kind) String() string {
	return [...]string{"string", "int64", "float64", "bool", "time.Time", "map[string]interface {}", "[]interface {}"}[k]
}

// Pos is a place in a file: the line counts from 1; the column is a byte offset that counts from 0 on the first line and
// from 1 on all others, which is what tools expect.
type Pos struct {
	File string
	Line int
	Col  int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// Value is a node of the tree. Only the field of its kind is set. A value that several variables refer to is shared, so a
// tree must not be changed.
type Value struct {
	Kind  Kind
	Pos   Pos // of a Map or an Array the place behind its end, as diagnostics have it
	Str   string
	Int   int64
	Float float64
	Bool  bool
	Time  time.Time
	Items []*Entry // of a Map, in the order of the text; of several definitions of a key the last one
	Elems []*Value // of an Array

	nodes int // this value and those below it, with shared ones counted every time
}

// Entry is a key of a map with its value.
type Entry struct {
	Key   string
	Pos   Pos // of the key
	Value *Value
	Used  bool // a variable referred to it
}

// Native returns the value as Go's own types: string, int64, float64, bool, time.Time, map[string]any, []any.
func (v *Value) Native() any {
	switch v.Kind {
	case String:
		return v.Str
	case Int:
		return v.Int
	case Float:
		return v.Float
	case Bool:
		return v.Bool
	case Time:
		return v.Time
	case Map:
		m := make(map[string]any, len(v.Items))
		for _, e := range v.Items {
			m[e.Key] = e.Value.Native()
		}
		return m
	default:
		a := make([]any, len(v.Elems))
		for i, e := range v.Elems {
			a[i] = e.Native()
		}
		return a
	}
}

// String formats the value as diagnostics show it.
func (v *Value) String() string { return fmt.Sprint(v.Native()) }

// Digest returns "sha256:" and the lower-case hexadecimal SHA-256 of the value as JSON with sorted keys and one line feed:
// it depends on keys and values only, not on how they were written.
func (v *Value) Digest() (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(v.Native()); err != nil {
		return "", fmt.Errorf("computing the digest: %w", err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

package options

import (
	"fmt"
	"strings"
)

//go:generate go run ./internal/reference ../../docs/options.md

// Reference returns docs/options.md: every option with its aliases, type, default, limits and what a reload does, and every
// flag.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Options

<!-- Generated from the table in server/options by "go generate ./server/options". Do not edit. -->

A configuration file is a sequence of ` + "`key: value`" + ` items; blocks are in braces. Keys may be written in any case. An option
that is not there has its default; an unknown key is an error. ` + "`natsd -c FILE -t`" + ` checks a file.

Types: a *duration* is text such as ` + "`10s`" + ` or ` + "`1h30m`" + ` (a bare number is seconds, with a warning); an *integer* may have a
suffix (` + "`8k`" + ` is 8000, ` + "`8kb`" + ` is 8192); a *size* is an integer, or text with one of the letters K, M, G, T (powers of 1024);
an *address* is a port, or host and port; a *percentage* is a number, or text with a percent sign.

The column *reload* says whether a running server takes a change over: *yes*, *no* (the whole reload is refused), or the
exceptions.

`)
	w := &referenceWriter{b: &b, seen: make(map[blockDoc]string)}
	w.block("Top level", "", Rule{}, top)
	for len(w.queue) > 0 {
		next := w.queue[0]
		w.queue = w.queue[1:]
		w.block("`"+next.path+"`", next.path+".", next.rule, next.doc)
	}
	w.flags()
	return b.String()
}

// referenceWriter writes tables, each of a block and once.
type referenceWriter struct {
	b     *strings.Builder
	seen  map[blockDoc]string // where a block was described
	queue []pendingBlock
}

type pendingBlock struct {
	path string
	rule Rule // of the block
	doc  blockDoc
}

// block writes the table of a block and queues the blocks below it. Options without a rule of their own follow a block
// that may change.
func (w *referenceWriter) block(title, prefix string, rule Rule, doc blockDoc) {
	fmt.Fprintf(w.b, "## %s\n\n| option | type | default | reload | |\n|---|---|---|---|---|\n", title)
	for _, o := range defaultsOf(doc) {
		if o.Reload == (Rule{}) && rule.Change == Live {
			o.Reload = rule
		}
		names := "`" + o.Name + "`"
		for _, a := range o.Aliases {
			names += " `" + a + "`"
		}
		text := o.Doc
		if o.Range != "" {
			text += ". " + o.Range
		}
		if o.block != nil {
			path := prefix + o.Name
			if at, ok := w.seen[o.block]; ok {
				path = at
			} else {
				w.seen[o.block] = path
				w.queue = append(w.queue, pendingBlock{path, o.Reload, o.block})
			}
			text += fmt.Sprintf(". See [%s](#%s)", path, anchor(path))
		}
		if o.Since != "" {
			text += " (" + o.Since + ")"
		}
		fmt.Fprintf(w.b, "| %s | %s | %s | %s | %s |\n", names, o.Type, shownDefault(o.Default), o.Reload.describe(), text)
	}
	w.b.WriteString("\n")
}

// anchor returns the fragment that a heading of a path gets.
func anchor(path string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "`", "").Replace(path))
}

// shownDefault formats a default for the table.
func shownDefault(s string) string {
	switch {
	case s == "" || strings.ContainsAny(s, "` "):
		return s
	}
	return "`" + strings.Trim(s, `"`) + "`"
}

// describe tells what a reload does.
func (r Rule) describe() string {
	switch r.Change {
	case Live:
		return "yes"
	case Partial:
		return r.Note
	case Grouped:
		return ""
	}
	return "no"
}

// flags writes the table of the command line.
func (w *referenceWriter) flags() {
	w.b.WriteString("## Command line\n\nA flag that is given wins over the configuration file, also after a reload.\n\n| flag | option | |\n|---|---|---|\n")
	for _, g := range flagGroups {
		for _, f := range g.flags {
			names := make([]string, len(f.names))
			for i, n := range f.names {
				names[i] = "`-" + n + "`"
			}
			head := strings.Join(names, " ")
			if f.arg != "" {
				head += " " + f.arg
			}
			option := f.option
			if option != "" {
				option = "`" + option + "`"
			}
			fmt.Fprintf(w.b, "| %s | %s | %s |\n", head, option, f.text())
		}
	}
}

package subjecttree

import "slices"

// node is a level of a trie of patterns: one level per token. It belongs to the
// list or set that holds its root, which also does the locking. The zero value
// is an empty trie. Patterns handed in must be Insertable.
type node[T any] struct {
	kids children[T] // below literal tokens
	star *node[T]    // below "*"
	here *T          // value of the pattern that ends here
	tail *T          // value of the pattern that continues with ">" and ends
}

func (n *node[T]) empty() bool {
	return n.here == nil && n.tail == nil && n.star == nil && n.kids.len() == 0
}

// slot returns where the value of a pattern is kept, making the levels to it.
func (n *node[T]) slot(pattern string) **T {
	for more := true; more; {
		var token string
		token, pattern, more = cut(pattern)
		switch token {
		case ">":
			return &n.tail
		case "*":
			if n.star == nil {
				n.star = new(node[T])
			}
			n = n.star
		default:
			next := n.kids.get(token)
			if next == nil {
				next = new(node[T])
				n.kids.add(token, next)
			}
			n = next
		}
	}
	return &n.here
}

// get returns the value of a pattern, or nil.
func (n *node[T]) get(pattern string) *T {
	for more := true; more && n != nil; {
		var token string
		token, pattern, more = cut(pattern)
		switch token {
		case ">":
			return n.tail
		case "*":
			n = n.star
		default:
			n = n.kids.get(token)
		}
	}
	if n == nil {
		return nil
	}
	return n.here
}

// remove takes a pattern out and every level that has become empty.
func (n *node[T]) remove(pattern string) {
	token, rest, more := cut(pattern)
	var next *node[T]
	switch token {
	case ">":
		n.tail = nil
		return
	case "*":
		next = n.star
	default:
		next = n.kids.get(token)
	}
	if next == nil {
		return
	}
	if more {
		next.remove(rest)
	} else {
		next.here = nil
	}
	if !next.empty() {
		return
	}
	if token == "*" {
		n.star = nil
	} else {
		n.kids.remove(token)
	}
}

// match appends the values of all patterns that match a subject without empty
// tokens. Each level is visited at most once, so the cost is bounded by the
// number of stored levels that agree with the subject.
func (n *node[T]) match(subject string, to []*T) []*T {
	for {
		if n.tail != nil {
			to = append(to, n.tail)
		}
		token, rest, more := cut(subject)
		if n.star != nil {
			if more {
				to = n.star.match(rest, to)
			} else if n.star.here != nil {
				to = append(to, n.star.here)
			}
		}
		if n = n.kids.get(token); n == nil {
			return to
		}
		if !more {
			if n.here != nil {
				to = append(to, n.here)
			}
			return to
		}
		subject = rest
	}
}

// matchesAny reports whether match would find anything.
func (n *node[T]) matchesAny(subject string) bool {
	for {
		if n.tail != nil {
			return true
		}
		token, rest, more := cut(subject)
		if n.star != nil {
			if more && n.star.matchesAny(rest) || !more && n.star.here != nil {
				return true
			}
		}
		if n = n.kids.get(token); n == nil {
			return false
		}
		if !more {
			return n.here != nil
		}
		subject = rest
	}
}

// mayStart reports whether some pattern can match a subject that begins with the
// tokens of prefix.
func (n *node[T]) mayStart(prefix string) bool {
	for more := true; more; {
		if n.tail != nil {
			return true
		}
		var token string
		token, prefix, more = cut(prefix)
		kid := n.kids.get(token)
		if n.star != nil {
			if !more || n.star.mayStart(prefix) {
				return true
			}
		}
		if kid == nil {
			return false
		}
		n = kid
	}
	return true
}

// collide appends the values of all patterns that share a literal with query.
func (n *node[T]) collide(query string, to []*T) []*T {
	if n.tail != nil {
		to = append(to, n.tail) // query has a token left, ">" takes it
	}
	token, rest, more := cut(query)
	below := func(next *node[T]) {
		if next == nil {
			return
		}
		if more {
			to = next.collide(rest, to)
		} else if next.here != nil {
			to = append(to, next.here)
		}
	}
	switch token {
	case ">":
		below = func(next *node[T]) { to = next.all(to) }
		fallthrough
	case "*":
		n.kids.each(below)
		if n.star != nil {
			below(n.star)
		}
	default:
		below(n.kids.get(token))
		below(n.star)
	}
	return to
}

// all appends every value at and below n.
func (n *node[T]) all(to []*T) []*T {
	if n.here != nil {
		to = append(to, n.here)
	}
	if n.tail != nil {
		to = append(to, n.tail)
	}
	if n.star != nil {
		to = n.star.all(to)
	}
	n.kids.each(func(next *node[T]) { to = next.all(to) })
	return to
}

// children maps literal tokens to the levels below them: a short slice for a
// few, a table for many.
type children[T any] struct {
	few  []child[T]
	many *table[node[T]] // nil up to fewChildren
}

type child[T any] struct {
	token string
	node  *node[T]
}

// fewChildren is where a hash beats comparing tokens one by one.
const fewChildren = 8

func (c *children[T]) len() int {
	if c.many != nil {
		return c.many.len()
	}
	return len(c.few)
}

func (c *children[T]) get(token string) *node[T] {
	if c.many != nil {
		return c.many.get(token)
	}
	for i := range c.few {
		if c.few[i].token == token {
			return c.few[i].node
		}
	}
	return nil
}

// add puts in a token that is not there.
func (c *children[T]) add(token string, n *node[T]) {
	if c.many == nil && len(c.few) < fewChildren {
		c.few = append(c.few, child[T]{token, n})
		return
	}
	if c.many == nil {
		c.many = new(table[node[T]])
		for _, k := range c.few {
			c.many.put(k.token, k.node)
		}
		c.few = nil
	}
	c.many.put(token, n)
}

func (c *children[T]) remove(token string) {
	if c.many != nil {
		c.many.remove(token)
		if c.many.len() <= fewChildren/2 {
			for token, n := range c.many.m {
				c.few = append(c.few, child[T]{token, n})
			}
			c.many = nil
		}
		return
	}
	c.few = slices.DeleteFunc(c.few, func(k child[T]) bool { return k.token == token })
	if len(c.few) == 0 {
		c.few = nil
	}
}

func (c *children[T]) each(f func(*node[T])) {
	for i := range c.few {
		f(c.few[i].node)
	}
	if c.many != nil {
		for _, n := range c.many.m {
			f(n)
		}
	}
}

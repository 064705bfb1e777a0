package subjecttree

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// What can be wrong with the destination of a transform; see DestinationError.
var (
	ErrUnknownFunction = errors.New("unknown function")
	ErrWildcardRange   = errors.New("wildcard index out of range")
	ErrFewArguments    = errors.New("not enough arguments passed to the function")
	ErrManyArguments   = errors.New("too many arguments passed to the function")
	ErrBadArgument     = errors.New("function argument is invalid or in the wrong format")
	ErrOnlyWildcard    = errors.New("the only mapping function allowed for import transforms is {{Wildcard()}}")
	ErrUnusedWildcard  = errors.New("not using all of the token wildcard(s)")
	ErrBadTransform    = errors.New("invalid transform")
)

// DestinationError says which token of a destination is wrong.
type DestinationError struct {
	Reason error  // one of the errors above
	Token  string // may be empty
	Index  []int  // the wildcard that is out of range, if it has a number
}

func (e *DestinationError) Error() string {
	s := "invalid mapping destination: " + e.Reason.Error()
	if e.Token != "" {
		s += " in " + e.Token
	}
	if e.Index != nil {
		s += fmt.Sprintf(": %d", e.Index)
	}
	return s
}

func (e *DestinationError) Unwrap() error { return e.Reason }

// function is what a token of a destination does.
type function uint8

const (
	literalToken function = iota
	rest                  // ">": all that the source's ">" matched
	wildcardFunc
	partitionFunc
	randomFunc
	splitFunc
	splitFromLeftFunc
	splitFromRightFunc
	sliceFromLeftFunc
	sliceFromRightFunc
	leftFunc
	rightFunc
)

// functions has the names as they are written with small first letters; the
// first letter of each word may be a capital one, and no other may.
var functions = map[string]function{
	"wildcard":         wildcardFunc,
	"partition":        partitionFunc,
	"random":           randomFunc,
	"split":            splitFunc,
	"split from left":  splitFromLeftFunc,
	"split from right": splitFromRightFunc,
	"slice from left":  sliceFromLeftFunc,
	"slice from right": sliceFromRightFunc,
	"left":             leftFunc,
	"right":            rightFunc,
}

// part is one parsed token of a destination.
type part struct {
	do     function
	text   string // the token itself; the delimiter for split
	inputs []int  // wildcards that it reads, as written: 1 is the first
	n      uint32 // count, position or size
}

// callOf splits "{{ name ( args ) }}" into its name and arguments. ok is false
// when the token is not of the form {{...}} and thus a literal; f is literalToken
// when it names no function.
func callOf(token string) (f function, args []string, ok bool) {
	if len(token) <= 4 || !strings.HasPrefix(token, "{{") || !strings.HasSuffix(token, "}}") {
		return literalToken, nil, false
	}
	const blank = " \t\n\f\r"
	call := strings.Trim(token[2:len(token)-2], blank)
	open := strings.IndexByte(call, '(')
	if open < 0 || call[len(call)-1] != ')' {
		return literalToken, nil, true
	}
	name := strings.TrimRight(call[:open], blank)
	for words, f := range functions {
		if namedLike(name, words) {
			args := strings.Split(call[open+1:len(call)-1], ",")
			for i := range args[1:] {
				args[1+i] = strings.TrimLeft(args[1+i], " ")
			}
			return f, args, true
		}
	}
	return literalToken, nil, true
}

// namedLike compares a name with words: each may begin with a capital letter.
func namedLike(name, words string) bool {
	for word := range strings.SplitSeq(words, " ") {
		if len(name) < len(word) || name[0] != word[0] && name[0] != word[0]-'a'+'A' || name[1:len(word)] != word[1:] {
			return false
		}
		name = name[len(word):]
	}
	return name == ""
}

// checkDestination is the check that mappings and stream transforms make before
// all others: what is wrong with the destination whatever the source is.
func checkDestination(dest string) error {
	tail := false
	for token := range strings.SplitSeq(dest, ".") {
		f, _, call := callOf(token)
		switch {
		case token == "" || tail:
			return &DestinationError{Reason: ErrBadTransform, Token: token}
		case call && f == literalToken:
			return &DestinationError{Reason: ErrUnknownFunction, Token: token}
		case !call && hasSpace(token):
			return &DestinationError{Reason: ErrBadTransform}
		}
		tail = token == ">"
	}
	return nil
}

// parsePart reads one token of a destination.
func parsePart(token string) (part, error) {
	p := part{text: token}
	bad := func(reason error) (part, error) {
		return p, &DestinationError{Reason: reason, Token: token}
	}
	if token == ">" {
		p.do = rest
		return p, nil
	}
	if strings.HasPrefix(token, "$") {
		if i, err := strconv.Atoi(token[1:]); err == nil {
			p.do, p.inputs = wildcardFunc, []int{i}
		}
		return p, nil
	}
	f, args, call := callOf(token)
	if !call {
		return p, nil
	}
	p.do = f
	var ok bool
	switch f {
	case literalToken:
		return bad(ErrUnknownFunction)
	case wildcardFunc:
		if len(args) == 1 && args[0] == "" {
			return bad(ErrFewArguments)
		}
		if len(args) > 1 {
			return bad(ErrManyArguments)
		}
		if p.inputs, ok = indexes(args); !ok {
			return bad(ErrBadArgument)
		}
	case partitionFunc:
		if p.n, ok = count(args[0]); !ok {
			return bad(ErrBadArgument)
		}
		if p.inputs, ok = indexes(args[1:]); !ok {
			return bad(ErrBadArgument)
		}
	case randomFunc:
		if len(args) != 1 {
			return bad(ErrFewArguments)
		}
		if p.n, ok = count(args[0]); !ok {
			return bad(ErrBadArgument)
		}
		if int32(p.n) < 0 {
			p.n = 0
		}
	default:
		if len(args) < 2 {
			return bad(ErrFewArguments)
		}
		if len(args) > 2 {
			return bad(ErrManyArguments)
		}
		if p.inputs, ok = indexes(args[:1]); !ok {
			return bad(ErrBadArgument)
		}
		if f == splitFunc {
			if p.text = args[1]; strings.ContainsAny(p.text, " .") {
				return bad(ErrBadArgument)
			}
			break
		}
		if p.n, ok = count(args[1]); !ok {
			return bad(ErrBadArgument)
		}
		if int32(p.n) < 0 {
			p.n = 0 // like every size that does not cut
		}
	}
	return p, nil
}

func indexes(args []string) ([]int, bool) {
	var list []int
	for _, a := range args {
		i, err := strconv.Atoi(strings.Trim(a, " "))
		if err != nil {
			return nil, false
		}
		list = append(list, i)
	}
	return list, true
}

// count reads a number of at most 2^31-1; a negative one is taken as unsigned.
func count(arg string) (uint32, bool) {
	n, err := strconv.ParseInt(strings.Trim(arg, " "), 10, 64)
	if err != nil || n > math.MaxInt32 || n < math.MinInt32 {
		return 0, false
	}
	return uint32(n), true
}

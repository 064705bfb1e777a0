// Package subjecttree is what NATS subjects are to a server and to a message
// store: their syntax, who listens, what is stored, and how they are rewritten.
// It does no input or output, starts no goroutine, reads no clock, and imports
// the standard library only.
//
// A subject is a byte string of tokens separated by dots. In a pattern the token
// "*" stands for any one token, and ">" as the last token for one or more.
// Nothing else is a wildcard: "foo*" and "**" are plain text. Comparison is
// bytewise.
//
//   - Valid, Literal, Matches, Subset, Collide and others are predicates on
//     strings and byte slices alike.
//   - List says who gets a message on a subject: plain subscriptions, and queue
//     groups of which one member gets it. It is safe for concurrent use.
//   - PatternSet maps patterns to sets of small values.
//   - Index maps literal subjects to values, in bytewise order, and answers
//     queries with wildcards and sums over them.
//   - Transform rewrites subjects after a template; Mappings choose one of several
//     weighted transforms for each message.
//
// Subjects come from outside. Those handed to List, PatternSet, Transform and
// Mapping are checked and a bad one is an error with a fixed text. Index takes any
// bytes. No subject makes anything panic; only the sizes named at Index do.
package subjecttree

// Package auth answers who a connection is and what it may do: users, nkeys,
// tokens, certificates, trusted proxies; permissions.
//
// A [Table] is made of the options once and is immutable; a reload makes a new
// one.
package auth

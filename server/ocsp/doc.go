// Package ocsp asks certificate authorities whether certificates were revoked (RFC 6960): about those of the other side of
// a connection (Verifier, with a Cache), and about the server's own, whose answers are stapled to its handshakes (Staples).
//
// It knows no sockets: answers come through an http.Client, and what is to be told goes to a Host.
package ocsp

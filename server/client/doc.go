// Package client is the protocol handler of client connections: what a client
// may say, in which order, and what it is answered. It stands on a
// [transport.Conn] and talks to the server through [Host].
package client

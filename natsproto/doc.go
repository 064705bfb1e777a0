// Package natsproto is the NATS wire: the text protocol between clients and
// servers and between servers, in both directions.
//
// [Parser] turns bytes into operations, [AppendMsg] and its siblings turn
// operations into bytes, [Info] and [Connect] are the two JSON objects of a
// connection's beginning, and the Header functions read and edit message
// headers. The package does no I/O and starts no goroutines; nothing on the
// message path allocates.
//
// The protocol is described at https://docs.nats.io/reference/reference-protocols.
package natsproto

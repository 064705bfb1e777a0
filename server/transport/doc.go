// Package transport moves bytes of one connection: a read loop, a bounded
// outbound queue, and whoever holds the writer token. It knows no verb of any
// protocol.
//
// # Writing
//
// Producers collect what they have for a connection in a [Stage] of their
// [Outbox] and hand it over once for each buffer that they read. At any moment
// at most one party writes the socket: the holder of the writer token. A
// producer that finds the token free writes its stage itself, once and without
// blocking, if the connection is plain TCP; what the socket does not take is
// left to a writer goroutine, which exists only while there is something to
// write. The token is free only while the queue is empty, so bytes leave in the
// order in which they were handed over.
//
// # Accounting
//
// [Conn.Reserve] counts bytes at the time a message is routed, before they are
// staged: limits and the stall gate must decide then. What was reserved is given
// back when the bytes were written, or when the connection closes.
package transport

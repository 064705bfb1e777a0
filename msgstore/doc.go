// Package msgstore stores the messages of streams: in blocks on disk, in the
// format of nats-server's data directories, or in memory.
//
// A [Host] opens a store directory: it holds the directory's lock, the committer
// that makes writes durable, and the memory for block contents. A [FileStore] is
// one stream in it, a [MemStore] one in memory; both are a [Store].
//
// # Positions
//
// Three positions of a stream matter, and [Store.Positions] tells them:
//
//   - appended: handed over to be written,
//   - durable: covered by a completed sync,
//   - visible: what every read, count and state is about.
//
// In mode [Always] a message becomes visible when it is durable, and so does a
// removal; nothing that was shown or confirmed is lost by a power cut. In modes
// [Interval] and [External], and in memory, a message is visible when it was
// written. Operations take effect in the order of their calls, each as a whole.
//
// # What happens to damage
//
// Every record is checked when it is read. What cannot be read is reported: by
// an error, in the state (Lost) and as an event; the bytes go to the directory
// quarantine of the stream; everything that is whole stays readable.
//
// # Time
//
// A store has no clock. NextDue says when something expires, Due says what has
// expired; the owner removes it, or lets [RunDue] do so.
package msgstore

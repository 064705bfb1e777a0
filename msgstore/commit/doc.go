// Package commit makes what stores write durable: group commit over all stores of
// a store directory.
//
// A store never calls fsync. It hands records, and what else must reach the disk,
// to the [Committer] of its directory as [Op]s, through a [Queue] of its own, and
// is told in order what is durable:
//
//	c, err := commit.Open(dir, commit.Options{FS: vfs.OS})
//	q := c.NewQueue(func(done []*commit.Op) { ... })    // once per store
//	f := q.NewFile("jetstream/$G/streams/S/msgs/1.blk", file, size, tail, commit.Always)
//	q.Submit(&commit.Op{File: f, Data: record})          // any number, under the store's lock
//	q.Run()                                              // or q.Start(); without the lock
//
// # How it works
//
// Every file has at most one operation of the committer in flight. What is
// submitted meanwhile waits and goes together, in one write and one sync, when the
// file is next taken: that is the group commit. Files with waiting ops stand in
// line; workers, started on demand and at most [Options.SyncThreads] of them, take
// the first. The goroutine that calls [Queue.Run] is the worker if nothing that
// anybody waits for is in flight, so that a lone record needs no hand-over.
//
// The files with little to write go together: a worker takes all of them, writes one
// frame with their records to the commit journal, a preallocated segment file in
// <store_dir>/natsd, syncs that once, and then writes to the files without syncing.
// Overwriting a segment is cheaper than appending to a file, so a lone record goes
// this way as well, once enough of them have come to make a segment worth its while.
// The journal's frame is enough to repair the files after a power cut. A segment is
// used again when the files that it covers have been synced, which happens in the
// background. The journal is empty after an orderly [Committer.Close].
//
// Consumer runs ([RunLog]) live in the journal alone until their owner has written
// a checkpoint.
//
// # Promises
//
//   - An op with a nil Err is durable (mode Always), or written (the other modes).
//   - Ops of one queue complete in the order in which they were submitted.
//   - After a failed write or sync of a file every op of its queue that appends fails
//     with the same error, until the owner has repaired it and calls [Queue.Reset].
//     Other queues go on.
//   - A file is never synced twice at a time, and at most SyncThreads goroutines are
//     inside a sync.
package commit

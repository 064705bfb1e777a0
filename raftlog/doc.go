// Package raftlog keeps the logs of many Raft groups of one host in one Pebble
// database, so that all groups share one write-ahead log and one fsync.
//
// A [DB] holds the groups; a [Group] is the log of one of them and implements
// the Storage interface of go.etcd.io/raft/v3. What the ready groups of a round
// have to save is collected in one [Batch] and made durable by one
// [Batch.Commit]; only after that may the messages of the round be sent, as
// raft's contract says.
//
// The package does not run the state machines: it is the part of them that
// survives a power cut.
package raftlog

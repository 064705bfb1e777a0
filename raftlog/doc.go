// Package raftlog runs many Raft groups on one host over one shared log.
package raftlog

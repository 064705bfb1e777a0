package raftlog

import "encoding/binary"

// Keys, big endian so that they sort by group and index.
const (
	prefixHardState = 1 // group: raftpb.HardState
	prefixSnapshot  = 2 // group: raftpb.Snapshot
	prefixStart     = 3 // group: index and term of the entry before the first
	prefixEntry     = 4 // group, index: raftpb.Entry
)

func groupKey(prefix byte, group uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, group)
}

func entryKey(group, index uint64) []byte {
	return binary.BigEndian.AppendUint64(groupKey(prefixEntry, group), index)
}

// entriesEnd is behind the last possible entry of a group.
func entriesEnd(group uint64) []byte { return append(entryKey(group, ^uint64(0)), 0) }

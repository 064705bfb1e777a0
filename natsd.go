// Package natsd is the root of the project: see ARCHITECTURE.md. The server is
// the command cmd/natsd; msgstore, raftlog and subjecttree are modules that
// stand on their own.
package natsd

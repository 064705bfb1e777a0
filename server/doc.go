// Package server is natsd in one process: listeners, accounts, the life cycle of
// connections, and the wiring between all parts.
package server

//go:build !unix

package main

// bequeath does nothing where files have no owner by number.
func bequeath(_, _ string) error { return nil }

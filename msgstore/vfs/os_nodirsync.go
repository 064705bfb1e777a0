//go:build !unix

package vfs

// syncDir does nothing: the file systems of these systems order the changes of
// directories themselves and have no call to wait for them.
func syncDir(string) error { return nil }

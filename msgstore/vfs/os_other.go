//go:build !unix || solaris || aix

package vfs

import (
	"errors"
	"os"
)

// Direct has no meaning on these systems.
const Direct = 0

var errWouldBlock = errors.New("would block")

func syncData(f *os.File) error { return f.Sync() }

// lockFile takes no lock: these systems are for development only, and whoever
// runs a server there sees to it that it is the only one.
func lockFile(*os.File) error { return nil }

func preallocate(*os.File, int64, int64) (bool, error) { return false, nil }

// available has no portable answer: the caller's own limits apply.
func available(string) (int64, error) { return 1 << 62, nil }

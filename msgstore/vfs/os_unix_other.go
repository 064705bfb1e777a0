//go:build unix && !linux && !solaris && !aix

package vfs

import (
	"os"
	"syscall"
)

// Direct has no meaning on these systems.
const Direct = 0

var errWouldBlock error = syscall.EWOULDBLOCK

func syncData(f *os.File) error { return f.Sync() }

func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

func preallocate(*os.File, int64, int64) (bool, error) { return false, nil }

// available has no portable answer: the caller's own limits apply.
func available(string) (int64, error) { return 1 << 62, nil }

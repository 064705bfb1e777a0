package monitor

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// residentBytes is the memory of the process that is in use, 0 if that cannot be told.
func residentBytes() int64 {
	// Format: proc_pid_statm(5), in pages; the second number is the resident set.
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// cpuTime is the processor time that the process used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

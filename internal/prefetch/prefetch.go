//go:build (amd64 || arm64) && !noasm

package prefetch

import "unsafe"

// Lines asks the processor to fetch n cache lines from p on and does not wait for
// them. Nothing is read: it is no access in the memory model, and p may be nil or
// anything else.
//
//go:noescape
func Lines(p unsafe.Pointer, n int)

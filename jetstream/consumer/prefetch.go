package consumer

import (
	"unsafe"

	"github.com/natsd/natsd/internal/prefetch"
)

// Prefetch has the processor fetch the machine, or only what a message that was
// stored changes in it. It may be called while somebody else works with the
// machine.
func (m *Machine) Prefetch(stored bool) {
	size := unsafe.Sizeof(*m)
	if stored {
		size = unsafe.Offsetof(m.push) + unsafe.Sizeof(m.push.active)
	}
	prefetch.Lines(unsafe.Pointer(m), prefetch.LinesOf(size))
}

// PrefetchTexts has the processor fetch what the machine refers to and never
// changes. As with Prefetch nobody need wait.
func (m *Machine) PrefetchTexts() {
	prefetch.Lines(unsafe.Pointer(unsafe.StringData(m.opts.AckPrefix)), 1)
}

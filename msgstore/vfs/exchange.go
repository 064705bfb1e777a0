package vfs

import "errors"

// Exchanger is implemented by file systems that can swap what two names stand for
// in one step.
type Exchanger interface {
	Exchange(a, b string) error
}

// Exchange swaps what the names a and b, of files or directories, stand for:
// nobody ever sees one of them missing. Durable after SyncDir of the parents. A
// file system that cannot gives an error that matches errors.ErrUnsupported.
func Exchange(fsys FS, a, b string) error {
	if x, ok := fsys.(Exchanger); ok {
		return x.Exchange(a, b)
	}
	return errors.ErrUnsupported
}

package vfs

// piecesWriter is a File that writes several pieces with one call.
type piecesWriter interface {
	WritePieces(pieces [][]byte, off int64) error
}

// WritePieces writes pieces one behind the other at off, with one call where the file
// can do that (a File with a method of this name and these arguments): the page cache
// takes a large write at half the cost of small ones. On error a part of them, from
// the beginning on, may have been written. The pieces are the caller's again
// afterwards.
func WritePieces(f File, pieces [][]byte, off int64) error {
	if w, ok := f.(piecesWriter); ok && len(pieces) > 1 {
		return w.WritePieces(pieces, off)
	}
	for _, p := range pieces {
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}

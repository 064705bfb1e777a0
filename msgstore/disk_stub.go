package msgstore

import "io"

type blockFile struct{}
type diskOp struct {
	parts []int
	enc   []byte
}
type disk struct{ limited bool }

func (d *disk) load(*block) error                               { return nil }
func (d *disk) loadLocked(*block) (*cache, error)               { return nil, nil }
func (d *disk) durable(uint64) uint64                           { return 0 }
func (d *disk) emptied(*block, int) bool                        { return false }
func (d *disk) dropped(*block)                                  {}
func (d *disk) rotate(*op, *block) error                        { return nil }
func (d *disk) submit(*op)                                      {}
func (d *disk) erase(*op)                                       {}
func (d *disk) truncate(uint64, []*block) error                 { return nil }
func (s *store) placeFloor(o *op, seq uint64) error             { return nil }
func (s *store) snapshot2(w io.Writer, o SnapshotOptions) error { return nil }
func (s *store) UpdateConfig(Config) error                      { return nil }
func (s *store) SyncDeleted([]SeqRange)                         {}
func (s *store) EncodedStreamState(uint64) ([]byte, error)      { return nil, nil }

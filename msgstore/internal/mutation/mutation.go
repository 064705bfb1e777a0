// Package mutation names deliberate faults of this module, so that its tests can
// prove that they would notice each of them. Nothing outside of tests sets one.
package mutation

// Set is the faults that are switched on.
type Set struct {
	CompleteBeforeSync bool // an append is complete before its sync
	SkipChainCheck     bool // replay applies records whose predecessor is not there
	FreeBeforeSync     bool // a journal segment is used again before its files are synced
	OutOfOrder         bool // ops complete as they are done, not in order
	IgnoreForget       bool // replay applies records that were voided
	RotateWithoutSync  bool // a new block begins before the old one is synced
	TombstoneUnsynced  bool // a removal is complete before its tombstone is synced
}

package jsapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/natsd/natsd/subjecttree"
)

// Bounds of streams; names and texts are bounded as those of consumers.
const (
	MaxReplicas            = 5
	DefaultDuplicateWindow = 2 * time.Minute
	// MaxSequence is the largest sequence of a message: what a record on disk can carry.
	MaxSequence = 1<<62 - 1

	minDuration = 100 * time.Millisecond // of max_age and the duplicate window
)

// Environment is what the validity of a configuration depends on besides
// itself. Functions may be nil.
type Environment struct {
	Pedantic        bool
	DuplicateWindow time.Duration // the server's limit; 0: none
	Limits          AccountLimits // of the account
	// Stream returns the configuration of another stream of the account, or nil.
	Stream func(name string) *StreamConfig
	// CheckTransform compiles a subject transform.
	CheckTransform func(src, dest string) error
}

func invalid(format string, args ...any) *Error {
	return ErrStreamInvalidConfig.With(fmt.Sprintf(format, args...))
}

// CheckStream fills in the defaults of a configuration, in place, and checks
// it. The first check that fails wins; their order is part of the API.
func CheckStream(c *StreamConfig, env *Environment) *Error {
	checks := []func(*StreamConfig, *Environment) *Error{
		checkNames, checkNumbers, checkDuplicateWindow, checkFeatures, checkDeleteMarkers, checkSchedules,
		checkPersistMode, checkMirror, checkSources, checkExternals, checkCycle, checkSubjects,
		checkAccount, checkStreamTransform, checkRepublish, checkPlacement, checkOriginFilters,
	}
	for _, check := range checks {
		if err := check(c, env); err != nil {
			return err
		}
	}
	return nil
}

func checkNames(c *StreamConfig, env *Environment) *Error {
	if !ValidName(c.Name) {
		return invalid(`stream name is required and can not contain '.', '*', '>', '\', '/'`)
	}
	if len(c.Name) > MaxNameLen {
		return invalid("stream name is too long, maximum allowed is %d", MaxNameLen)
	}
	if len(c.Description) > MaxDescription {
		return invalid("stream description is too long, maximum allowed is %d", MaxDescription)
	}
	if MetadataLen(c.Metadata) > MaxMetadata {
		return invalid("stream metadata exceeds maximum size of %d bytes", MaxMetadata)
	}
	return nil
}

// MetadataLen is the size that is limited: all keys and values, apart from those that
// the server itself sets.
func MetadataLen(m map[string]string) (n int) {
	for k, v := range m {
		if !ofServer(k) {
			n += len(k) + len(v)
		}
	}
	return n
}

func checkNumbers(c *StreamConfig, env *Environment) *Error {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Replicas > MaxReplicas {
		return invalid("maximum replicas is %d", MaxReplicas)
	}
	if c.Replicas < 0 {
		return ErrReplicasCountCannotBeNegative
	}
	maxMsgSize, maxConsumers := int64(c.MaxMsgSize), int64(c.MaxConsumers)
	for _, limit := range []struct {
		name  string
		value *int64
	}{
		{"max_msgs", &c.MaxMsgs}, {"max_msgs_per_subject", &c.MaxMsgsPerSubject}, {"max_bytes", &c.MaxBytes},
		{"max_msg_size", &maxMsgSize}, {"max_consumers", &maxConsumers},
	} {
		if *limit.value < -1 && env.Pedantic {
			return ErrPedantic.With(limit.name + " must be set to -1")
		}
		if *limit.value <= 0 {
			*limit.value = -1
		}
	}
	c.MaxMsgSize, c.MaxConsumers = int32(maxMsgSize), int(maxConsumers)
	if c.MaxAge < 0 {
		return invalid("max age can not be negative")
	}
	if c.MaxAge != 0 && c.MaxAge < minDuration {
		return invalid("max age needs to be >= 100ms")
	}
	if c.FirstSeq > MaxSequence { // ours: the stream could not hold a message
		return invalid("first sequence can not be larger than %d", uint64(MaxSequence))
	}
	return nil
}

func checkDuplicateWindow(c *StreamConfig, env *Environment) *Error {
	if c.DuplicateWindow == 0 && c.Mirror == nil && len(c.Sources) == 0 {
		c.DuplicateWindow = DefaultDuplicateWindow
		if env.DuplicateWindow > 0 && c.DuplicateWindow > env.DuplicateWindow {
			if env.Pedantic {
				return ErrPedantic.With("duplicate window limits are higher than current limits")
			}
			c.DuplicateWindow = env.DuplicateWindow
		}
		if c.MaxAge > 0 && c.MaxAge < c.DuplicateWindow {
			if env.Pedantic {
				return ErrPedantic.With("duplicate window cannot be bigger than max age")
			}
			c.DuplicateWindow = c.MaxAge
		}
	}
	switch {
	case c.DuplicateWindow < 0:
		return invalid("duplicates window can not be negative")
	case c.DuplicateWindow > 0 && c.MaxAge > 0 && c.DuplicateWindow > c.MaxAge:
		return invalid("duplicates window can not be larger then max age")
	case env.DuplicateWindow > 0 && c.DuplicateWindow > env.DuplicateWindow:
		return invalid("duplicates window can not be larger then server limit of %v", env.DuplicateWindow)
	case c.DuplicateWindow > 0 && c.DuplicateWindow < minDuration:
		return invalid("duplicates window needs to be >= 100ms")
	}
	return nil
}

func checkFeatures(c *StreamConfig, env *Environment) *Error {
	if c.DenyPurge && c.AllowRollup {
		return invalid("roll-ups require the purge permission")
	}
	if c.AllowMsgCounter {
		switch {
		case c.Discard == DiscardNew:
			return invalid("counter stream cannot use discard new")
		case c.AllowMsgTTL:
			return invalid("counter stream cannot use message TTLs")
		case c.AllowMsgSchedules:
			return invalid("counter stream cannot use message schedules")
		case c.Retention != LimitsPolicy:
			return invalid("counter stream can only use limits retention")
		}
	}
	if c.DiscardNewPerSubject {
		if c.Discard != DiscardNew {
			return invalid("discard new per subject requires discard new policy to be set")
		}
		if c.MaxMsgsPerSubject <= 0 {
			return invalid("discard new per subject requires max msgs per subject > 0")
		}
	}
	return nil
}

func checkDeleteMarkers(c *StreamConfig, env *Environment) *Error {
	if c.SubjectDeleteMarkerTTL == 0 {
		return nil
	}
	if c.SubjectDeleteMarkerTTL < 0 {
		return invalid("subject delete marker TTL must not be negative")
	}
	if c.SubjectDeleteMarkerTTL < time.Second {
		return invalid("subject delete marker TTL must be at least 1 second")
	}
	if !c.AllowMsgTTL {
		if env.Pedantic {
			return invalid("subject delete marker cannot be set if message TTLs are disabled")
		}
		c.AllowMsgTTL = true
	}
	if !c.AllowRollup {
		if env.Pedantic {
			return invalid("subject delete marker cannot be set if roll-ups are disabled")
		}
		c.AllowRollup, c.DenyPurge = true, false
	}
	return nil
}

func checkSchedules(c *StreamConfig, env *Environment) *Error {
	if !c.AllowMsgSchedules {
		return nil
	}
	if c.Discard == DiscardNew {
		return invalid("message scheduling cannot use discard new")
	}
	if !c.AllowRollup {
		if env.Pedantic {
			return invalid("message scheduling cannot be set if roll-ups are disabled")
		}
		c.AllowRollup, c.DenyPurge = true, false
	}
	return nil
}

func checkPersistMode(c *StreamConfig, env *Environment) *Error {
	if c.PersistMode != PersistAsync {
		return nil
	}
	switch {
	case c.Storage != FileStorage:
		return invalid("async persist mode is only supported on file storage")
	case c.Replicas > 1:
		return invalid("async persist mode is not supported on replicated streams")
	case c.AllowAtomic:
		return invalid("async persist mode is not supported with atomic batch publish")
	}
	return nil
}

func checkSubjects(c *StreamConfig, env *Environment) *Error {
	if c.Mirror != nil {
		return nil
	}
	if len(c.Subjects) == 0 && len(c.Sources) == 0 {
		c.Subjects = []string{c.Name}
	}
	for _, s := range c.Subjects {
		if !validSubject(s) {
			return invalid("invalid subject")
		}
	}
	if len(c.Subjects) > maxSubjects {
		return invalid("too many subjects, the limit is %d", maxSubjects)
	}
	var before subjecttree.PatternSet[int]
	for i, s := range c.Subjects {
		first := i
		before.Colliding(s, func(_ string, j int) bool { first = min(first, j); return true })
		if first < i {
			return invalid("subject %q overlaps with %q", c.Subjects[first], s)
		}
		before.Insert(s, i) // s is valid
	}
	for _, s := range c.Subjects {
		if err := checkReserved(c, s); err != nil {
			return err
		}
	}
	return nil
}

// checkReserved keeps a stream from acknowledging the server's own messages.
func checkReserved(c *StreamConfig, subject string) *Error {
	if subject == ">" {
		if !c.NoAck {
			return invalid("capturing all subjects requires no-ack to be true")
		}
		if c.Replicas > 1 {
			return invalid("capturing all subjects requires replicas of 1")
		}
	}
	if c.NoAck {
		return nil
	}
	if !subjecttree.Subset(subject, "$JS.EVENT.>") {
		for _, api := range []string{"$JS.>", "$JSC.>", "$NRG.>"} {
			if subjecttree.Collide(subject, api) {
				return invalid("subjects that overlap with jetstream api require no-ack to be true")
			}
		}
	}
	if subjecttree.Collide(subject, "$SYS.>") && !subjecttree.Subset(subject, "$SYS.ACCOUNT.>") {
		return invalid("subjects that overlap with system api require no-ack to be true")
	}
	return nil
}

func checkAccount(c *StreamConfig, env *Environment) *Error {
	if env.Limits.MaxBytesRequired && c.MaxBytes <= 0 {
		return ErrStreamMaxBytesRequired
	}
	limit := env.Limits.StoreMaxStreamBytes
	if c.Storage == MemoryStorage {
		limit = env.Limits.MemoryMaxStreamBytes
	}
	if limit > 0 && c.MaxBytes > limit {
		return ErrStreamMaxStreamBytesExceeded
	}
	return nil
}

func checkStreamTransform(c *StreamConfig, env *Environment) *Error {
	t := c.SubjectTransform
	if t == nil {
		return nil
	}
	if t.Source != "" && !validSubject(t.Source) {
		return ErrStreamTransformInvalidSource.With("invalid subject " + t.Source)
	}
	if t.Destination == "" {
		return nil
	}
	if err := env.CheckTransform(t.Source, t.Destination); err != nil {
		return ErrStreamTransformInvalidDestination.With(err)
	}
	return nil
}

func checkRepublish(c *StreamConfig, env *Environment) *Error {
	r := c.Republish
	if r == nil {
		return nil
	}
	if r.Source == "" {
		if env.Pedantic {
			return ErrPedantic.With("republish source can not be empty")
		}
		r.Source = ">"
	}
	if t := c.SubjectTransform; t != nil && r.Source == ">" && r.Destination == ">" && len(c.Subjects) == 1 && t.Source == c.Subjects[0] {
		if env.Pedantic {
			return ErrPedantic.With("implicit republish based on subject transform")
		}
		r.Source, r.Destination = t.Destination, t.Destination
	}
	for _, s := range c.Subjects {
		if subjecttree.Collide(r.Destination, s) {
			return invalid("stream configuration for republish destination forms a cycle")
		}
	}
	if env.CheckTransform(r.Source, r.Destination) != nil {
		return invalid("stream configuration for republish with transform from '%s' to '%s' not valid", r.Source, r.Destination)
	}
	return nil
}

func checkPlacement(c *StreamConfig, env *Environment) *Error {
	p := c.Placement
	if p == nil {
		return nil
	}
	if p.Preferred != "" {
		return invalid("preferred server not permitted in placement")
	}
	if p.Cluster == "" && len(p.Tags) == 0 {
		c.Placement = nil
	}
	return nil
}

// Keys of the metadata that the server keeps about an asset.
const (
	MetaRequiredLevel = "_nats.req.level" // stored
	MetaVersion       = "_nats.ver"       // only in replies
	MetaLevel         = "_nats.level"     // only in replies
)

// RequiredLevel is the API level that a configuration needs.
func (c *StreamConfig) RequiredLevel() int {
	level := 0
	need := func(n int, used bool) {
		if used {
			level = max(level, n)
		}
	}
	need(1, c.AllowMsgTTL || c.SubjectDeleteMarkerTTL > 0)
	need(2, c.AllowMsgCounter || c.AllowAtomic || c.AllowMsgSchedules || c.PersistMode == PersistAsync)
	need(4, c.AllowBatched)
	return level
}

// SetRequiredLevel writes the metadata that is stored with a stream. The map is
// replaced, not changed.
func SetRequiredLevel(c *StreamConfig) {
	c.Metadata = StoredMetadata(c.Metadata, c.RequiredLevel())
}

// StoredMetadata is metadata as it is stored: with the required level, without
// the keys that replies add.
func StoredMetadata(m map[string]string, level int) map[string]string {
	out := make(map[string]string, len(m)+1)
	for k, v := range m {
		if k != MetaVersion && k != MetaLevel {
			out[k] = v
		}
	}
	out[MetaRequiredLevel] = fmt.Sprint(level)
	return out
}

// ReplyMetadata is stored metadata as single-asset replies show it.
func ReplyMetadata(m map[string]string, version string) map[string]string {
	out := make(map[string]string, len(m)+2)
	for k, v := range m {
		out[k] = v
	}
	out[MetaVersion], out[MetaLevel] = version, fmt.Sprint(Level)
	return out
}

// SameStream reports whether two checked configurations are the same, apart
// from the metadata that the server keeps.
func SameStream(a, b *StreamConfig) bool {
	x, y := *a, *b
	x.Metadata, y.Metadata = UserMetadata(a.Metadata), UserMetadata(b.Metadata)
	xj, err1 := json.Marshal(&x)
	yj, err2 := json.Marshal(&y)
	return err1 == nil && err2 == nil && string(xj) == string(yj)
}

// ofServer says whether the server keeps a key of metadata.
func ofServer(key string) bool {
	return key == MetaRequiredLevel || key == MetaVersion || key == MetaLevel
}

// UserMetadata is a copy of metadata without the keys that the server keeps.
func UserMetadata(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		if !ofServer(k) {
			out[k] = v
		}
	}
	return out
}

// CheckStreamUpdate checks whether old may be replaced by c, both checked, and
// completes what sealing implies.
func CheckStreamUpdate(old, c *StreamConfig) *Error {
	switch {
	case c.Storage != old.Storage:
		return invalid("stream configuration update can not change storage type")
	case c.Retention != old.Retention && (c.Retention == WorkQueuePolicy || old.Retention == WorkQueuePolicy):
		return invalid("stream configuration update can not change retention policy to/from workqueue")
	case old.Sealed && !c.Sealed:
		return invalid("stream configuration update can not unseal a sealed stream")
	case old.DenyDelete && !c.DenyDelete:
		return invalid("stream configuration update can not cancel deny message deletes")
	case old.DenyPurge && !c.DenyPurge:
		return invalid("stream configuration update can not cancel deny purge")
	case c.Mirror != nil && !reflect.DeepEqual(old.Mirror, c.Mirror):
		return ErrStreamMirrorNotUpdatable
	case old.AllowMsgTTL && !c.AllowMsgTTL:
		return invalid("message TTL status can not be disabled")
	case old.AllowMsgCounter != c.AllowMsgCounter:
		return invalid("stream configuration update can not change message counter setting")
	case old.AllowMsgSchedules && !c.AllowMsgSchedules:
		return invalid("message schedules can not be disabled")
	case old.PersistMode != c.PersistMode:
		return invalid("stream configuration update can not change persist mode")
	}
	if c.Sealed {
		c.MaxAge, c.Discard, c.DenyDelete, c.DenyPurge, c.AllowRollup = 0, DiscardNew, true, true, false
	}
	return nil
}

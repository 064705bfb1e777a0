package jsapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/natsd/natsd/subjecttree"
)

// Defaults of consumers.
const (
	DefaultAckWait           = 30 * time.Second
	DefaultMaxAckPending     = 1000
	DefaultMaxWaiting        = 512
	DefaultInactiveThreshold = 5 * time.Second
	DefaultPriorityTimeout   = 2 * time.Minute
)

// Limits of consumers.
const (
	MaxDescription   = 4096   // bytes
	MaxMetadata      = 131072 // bytes of keys and values
	MaxNameLen       = 255
	maxGroupName     = 16
	minHeartbeat     = 100 * time.Millisecond
	minPullExpires   = time.Millisecond
	flowAckHeartbeat = time.Second
)

// ConsumerRules are what a consumer's configuration is judged by beside itself.
// A limit of 0 or less is none.
type ConsumerRules struct {
	Stream            *StreamConfig
	MaxAckPending     int // of the server
	AccountAckPending int
	MaxRequestBatch   int
	Pedantic          bool // refuse what would otherwise be repaired
}

// Push says whether the consumer delivers to a subject of its own accord.
func (c *ConsumerConfig) Push() bool { return c.DeliverSubject != "" }

// Filters returns the filter subjects; nil means every message. The result
// must not be changed.
func (c *ConsumerConfig) Filters() []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// RequiredLevel is the API level that the configuration asks for.
func (c *ConsumerConfig) RequiredLevel() int {
	switch {
	case c.AckPolicy == AckFlowControl:
		return 4
	case c.PauseUntil != nil && !c.PauseUntil.IsZero(),
		c.PriorityPolicy != PriorityNone, len(c.PriorityGroups) > 0, c.PriorityTimeout != 0:
		return 1
	}
	return 0
}

// SetRequiredLevel puts the level that the configuration asks for into its
// metadata, of which it makes a copy that must not be changed, and takes out what only
// replies show.
func (c *ConsumerConfig) SetRequiredLevel() {
	level := c.RequiredLevel()
	m := StoredMetadata(c.Metadata, level)
	if len(m) == 1 {
		m = onlyLevel[level]
	}
	c.Metadata = m
}

// onlyLevel is the metadata of consumers that have nothing but a level, by that: most
// of them, who share it. Never changed.
var onlyLevel = map[int]map[string]string{0: {MetaRequiredLevel: "0"}, 1: {MetaRequiredLevel: "1"}, 4: {MetaRequiredLevel: "4"}}

// Shown returns a copy for replies, with the server's version and level.
func (c *ConsumerConfig) Shown(version string) *ConsumerConfig {
	s := *c
	s.Metadata = ReplyMetadata(c.Metadata, version)
	return &s
}

// SetDefaults fills in what was left out and repairs what is out of range, or,
// when pedantic, refuses that.
func (c *ConsumerConfig) SetDefaults(r *ConsumerRules) *Error {
	pedantic := func(text string) *Error {
		if !r.Pedantic {
			return nil
		}
		return ErrPedantic.With(errors.New(text))
	}
	type fix struct {
		bad  bool
		text string
		set  func()
	}
	fixes := []fix{
		{c.MaxDeliver < -1, "max_deliver must be set to -1", func() { c.MaxDeliver = -1 }},
		{c.MaxWaiting < 0, "max_waiting must not be negative", func() { c.MaxWaiting = 0 }},
		{c.MaxAckPending < -1, "max_ack_pending must be set to -1", func() { c.MaxAckPending = -1 }},
		{c.MaxRequestBatch < 0, "max_batch must not be negative", func() { c.MaxRequestBatch = 0 }},
		{c.MaxRequestExpires < 0, "max_expires must not be negative", func() { c.MaxRequestExpires = 0 }},
		{c.MaxRequestBytes < 0, "max_bytes must not be negative", func() { c.MaxRequestBytes = 0 }},
		{c.Heartbeat < 0, "idle_heartbeat must not be negative", func() { c.Heartbeat = 0 }},
		{c.InactiveThreshold < 0, "inactive_threshold must not be negative", func() { c.InactiveThreshold = 0 }},
		{c.PriorityTimeout < 0, "priority_timeout must not be negative", func() { c.PriorityTimeout = 0 }},
	}
	for _, f := range fixes {
		if f.bad {
			if err := pedantic(f.text); err != nil {
				return err
			}
			f.set()
		}
	}
	if c.MaxDeliver == 0 {
		c.MaxDeliver = -1
	}
	// An empty list is the same as none.
	if len(c.BackOff) == 0 {
		c.BackOff = nil
	}
	if len(c.FilterSubjects) == 0 {
		c.FilterSubjects = nil
	}
	if len(c.PriorityGroups) == 0 {
		c.PriorityGroups = nil
	}
	if c.AckPolicy == AckFlowControl && !r.Pedantic {
		c.FlowControl, c.Heartbeat = true, flowAckHeartbeat
	}
	if !c.Push() && c.MaxWaiting == 0 {
		c.MaxWaiting = DefaultMaxWaiting
	}
	if c.AckWait == 0 && (c.AckPolicy == AckExplicit || c.AckPolicy == AckAll) {
		c.AckWait = DefaultAckWait
	}
	if len(c.BackOff) > 0 && c.AckWait != c.BackOff[0] {
		if err := pedantic("first backoff value has to equal batch AckWait"); err != nil {
			return err
		}
		c.AckWait = c.BackOff[0]
	}
	limits := r.Stream.ConsumerLimits
	if c.MaxAckPending == 0 && limits.MaxAckPending > 0 {
		if err := pedantic("max_ack_pending must be set if it's configured in stream limits"); err != nil {
			return err
		}
		c.MaxAckPending = limits.MaxAckPending
	}
	if c.MaxAckPending == 0 && c.AckPolicy != AckNone {
		c.MaxAckPending = DefaultMaxAckPending
		for _, limit := range [...]int{r.MaxAckPending, r.AccountAckPending} {
			if limit > 0 && limit < c.MaxAckPending {
				c.MaxAckPending = limit
			}
		}
	}
	if c.InactiveThreshold == 0 && limits.InactiveThreshold > 0 && !(c.Sourcing && c.AckPolicy == AckFlowControl) {
		if err := pedantic("inactive_threshold must be set if it's configured in stream limits"); err != nil {
			return err
		}
		c.InactiveThreshold = limits.InactiveThreshold
	}
	if c.InactiveThreshold == 0 && c.Durable == "" {
		c.InactiveThreshold = DefaultInactiveThreshold
	}
	if !c.Push() && c.MaxRequestBatch == 0 && r.MaxRequestBatch > 0 {
		if err := pedantic("max_request_batch must be set if it's JetStream limits are set"); err != nil {
			return err
		}
		c.MaxRequestBatch = r.MaxRequestBatch
	}
	if c.PriorityPolicy == PriorityPinnedClient && c.PriorityTimeout == 0 {
		c.PriorityTimeout = DefaultPriorityTimeout
	}
	return nil
}

// Check validates a configuration with its defaults filled in.
func (c *ConsumerConfig) Check(r *ConsumerRules) *Error {
	for _, check := range [...]func(*ConsumerConfig, *ConsumerRules) *Error{
		(*ConsumerConfig).checkNames, (*ConsumerConfig).checkReplicas, (*ConsumerConfig).checkAcks,
		(*ConsumerConfig).checkMode, (*ConsumerConfig).checkLimits, (*ConsumerConfig).checkFilters,
		(*ConsumerConfig).checkStart, (*ConsumerConfig).checkRest, (*ConsumerConfig).checkPriority,
	} {
		if err := check(c, r); err != nil {
			return err
		}
	}
	return nil
}

// Revive makes the configuration of a consumer of this name, as it was read from files
// or from an archive, usable: the defaults of today for what it lacks. It refuses what
// is wrong by itself, whatever the stream and the limits are.
func (c *ConsumerConfig) Revive(name string) *Error {
	if c.Name != "" && c.Name != name || c.Durable != "" && c.Durable != name {
		return ErrConsumerCreateDurableAndNameMismatch
	}
	r := &ConsumerRules{Stream: &StreamConfig{Replicas: max(c.Replicas, 1)}}
	if err := c.SetDefaults(r); err != nil {
		return err
	}
	return c.Check(r)
}

// ValidName reports whether a stream or consumer may have the name, its length
// apart.
func ValidName(name string) bool {
	return name != "" && !strings.ContainsAny(name, " \t\r\n\f.*>\\/")
}

func (c *ConsumerConfig) checkNames(*ConsumerRules) *Error {
	if c.Name != "" && !ValidName(c.Name) {
		return ErrStreamInvalidConfig.With(`consumer name can not contain '.', '*', '>', '\', '/'`)
	}
	if c.Durable != "" && !ValidName(c.Durable) {
		return ErrStreamInvalidConfig.With(`consumer durable name can not contain '.', '*', '>', '\', '/'`)
	}
	return nil
}

func (c *ConsumerConfig) checkReplicas(r *ConsumerRules) *Error {
	switch {
	case c.Replicas > r.Stream.Replicas:
		return ErrConsumerReplicasExceedsStream
	case c.Replicas < 0:
		return ErrReplicasCountCannotBeNegative
	case r.Stream.Retention != LimitsPolicy && c.Replicas != 0 && c.Replicas != r.Stream.Replicas:
		return ErrConsumerReplicasShouldMatchStream
	}
	return nil
}

func (c *ConsumerConfig) checkAcks(*ConsumerRules) *Error {
	if c.AckPolicy > AckFlowControl {
		return ErrConsumerAckPolicyInvalid
	}
	if c.ReplayPolicy > ReplayOriginal {
		return ErrConsumerReplayPolicyInvalid
	}
	for _, d := range c.BackOff {
		if d < 0 {
			return ErrConsumerBackOffNegative
		}
	}
	if c.AckWait < 0 {
		return ErrConsumerAckWaitNegative
	}
	if c.AckPolicy == AckFlowControl {
		switch {
		case !c.Push():
			return ErrConsumerAckFCRequiresPush
		case !c.FlowControl:
			return ErrConsumerAckFCRequiresFC
		case c.Heartbeat != flowAckHeartbeat:
			return ErrStreamInvalidConfig.With("flow control ack policy heartbeat needs to be 1s")
		case c.MaxAckPending <= 0:
			return ErrConsumerAckFCRequiresMaxAckPending
		case c.AckWait != 0 || len(c.BackOff) > 0:
			return ErrConsumerAckFCRequiresNoAckWait
		case c.MaxDeliver > 0:
			return ErrConsumerAckFCRequiresNoMaxDeliver
		}
	}
	return c.checkBackOff()
}

func (c *ConsumerConfig) checkBackOff() *Error {
	if c.MaxDeliver != -1 && c.MaxDeliver < len(c.BackOff) {
		return ErrConsumerMaxDeliverBackoff
	}
	return nil
}

func (c *ConsumerConfig) checkMode(r *ConsumerRules) *Error {
	if len(c.Description) > MaxDescription {
		return ErrConsumerDescriptionTooLong.With(MaxDescription)
	}
	if c.Push() {
		switch {
		case !subjecttree.Literal(c.DeliverSubject):
			return ErrConsumerDeliverToWildcards
		case !validSubject(c.DeliverSubject):
			return ErrConsumerInvalidDeliverSubject
		case matchedByAny(c.DeliverSubject, r.Stream.Subjects):
			return ErrConsumerDeliverCycle
		case c.MaxWaiting != 0:
			return ErrConsumerPushMaxWaiting
		case c.MaxAckPending > 0 && c.AckPolicy == AckNone:
			return ErrConsumerMaxPendingAckPolicyRequired
		case c.Heartbeat > 0 && c.Heartbeat < minHeartbeat:
			return ErrConsumerSmallHeartbeat
		}
		return nil
	}
	switch {
	case r.Stream.Retention == WorkQueuePolicy && c.AckPolicy == AckNone:
		return ErrConsumerPullRequiresAck
	case c.RateLimit > 0:
		return ErrConsumerPullWithRateLimit
	case c.Heartbeat > 0:
		return ErrConsumerHBRequiresPush
	case c.FlowControl:
		return ErrConsumerFCRequiresPush
	case c.MaxRequestExpires > 0 && c.MaxRequestExpires < minPullExpires:
		return ErrConsumerMaxRequestExpiresTooSmall
	case r.MaxRequestBatch > 0 && c.MaxRequestBatch > r.MaxRequestBatch:
		return ErrConsumerMaxRequestBatchExceeded.With(r.MaxRequestBatch)
	}
	return nil
}

func matchedByAny(subject string, patterns []string) bool {
	for _, p := range patterns {
		if subjecttree.Matches(subject, p) {
			return true
		}
	}
	return false
}

func (c *ConsumerConfig) checkLimits(r *ConsumerRules) *Error {
	for _, limit := range [...]int{r.MaxAckPending, r.AccountAckPending, r.Stream.ConsumerLimits.MaxAckPending} {
		if limit > 0 && c.MaxAckPending > limit {
			return ErrConsumerMaxPendingAckExcess.With(limit)
		}
	}
	if limit := r.Stream.ConsumerLimits.InactiveThreshold; limit > 0 && c.InactiveThreshold > limit {
		return ErrConsumerInactiveThresholdExcess.With(limit)
	}
	if c.Direct {
		if !c.Push() {
			return ErrConsumerDirectRequiresPush
		}
		if c.Durable != "" {
			return ErrConsumerDirectRequiresEphemeral
		}
	}
	return nil
}

func (c *ConsumerConfig) checkFilters(*ConsumerRules) *Error {
	if c.FilterSubject != "" && len(c.FilterSubjects) > 0 {
		return ErrConsumerDuplicateFilterSubjects
	}
	if c.FilterSubject != "" && !validSubject(c.FilterSubject) {
		return ErrStreamInvalidConfig.With("invalid subject")
	}
	if len(c.FilterSubjects) > maxSubjects {
		return invalid("too many filter subjects, the limit is %d", maxSubjects)
	}
	var before filterSet
	for _, f := range c.FilterSubjects {
		switch {
		case f == "":
			return ErrConsumerEmptyFilter
		case !validSubject(f):
			return ErrStreamInvalidConfig.With("invalid subject")
		case !before.add(f):
			return ErrConsumerOverlappingSubjectFilters
		}
	}
	return nil
}

func (c *ConsumerConfig) checkStart(*ConsumerRules) *Error {
	bad := func(policy, rest string) *Error {
		return ErrConsumerInvalidPolicy.With("consumer delivery policy is deliver " + policy + ", but optional " + rest)
	}
	switch c.DeliverPolicy {
	case DeliverAll, DeliverLast, DeliverNew, DeliverLastPerSubject:
		name := [...]string{DeliverAll: "all", DeliverLast: "last", DeliverNew: "new", DeliverLastPerSubject: "last per subject"}[c.DeliverPolicy]
		switch {
		case c.OptStartSeq > 0:
			return bad(name, "start sequence is also set")
		case c.OptStartTime != nil:
			return bad(name, "start time is also set")
		case c.DeliverPolicy == DeliverLastPerSubject && len(c.Filters()) == 0:
			return bad(name, "filter subject is not set")
		}
	case DeliverByStartSequence:
		switch {
		case c.OptStartSeq == 0:
			return bad("by start sequence", "start sequence is not set")
		case c.OptStartTime != nil:
			return bad("by start sequence", "start time is also set")
		}
	case DeliverByStartTime:
		switch {
		case c.OptStartTime == nil:
			return bad("by start time", "start time is not set")
		case c.OptStartSeq != 0:
			return bad("by start time", "start start sequence is also set")
		}
	}
	return nil
}

func (c *ConsumerConfig) checkRest(*ConsumerRules) *Error {
	if c.SampleFrequency != "" {
		n, err := strconv.Atoi(strings.TrimSuffix(c.SampleFrequency, "%"))
		if err != nil {
			return ErrConsumerInvalidSampling.With(err)
		}
		if n < 0 {
			return ErrConsumerInvalidSampling.With("negative frequency " + c.SampleFrequency)
		}
	}
	if c.FlowControl && c.Heartbeat == 0 {
		return ErrConsumerWithFlowControlNeedsHeartbeats
	}
	if c.Durable != "" && c.Name != "" && c.Durable != c.Name {
		return ErrConsumerCreateDurableAndNameMismatch
	}
	if MetadataLen(c.Metadata) > MaxMetadata {
		return ErrConsumerMetadataLength.With(fmt.Sprintf("%dKB", MaxMetadata/1024))
	}
	return nil
}

func (c *ConsumerConfig) checkPriority(*ConsumerRules) *Error {
	if c.PriorityPolicy == PriorityNone {
		switch {
		case len(c.PriorityGroups) > 0:
			return ErrConsumerPriorityGroupWithPolicyNone
		case c.PriorityTimeout > 0:
			return ErrConsumerPinnedTTLWithoutPriorityPolicyNone
		}
		return nil
	}
	if c.Push() {
		return ErrConsumerPushWithPriorityGroup
	}
	if len(c.PriorityGroups) == 0 {
		return ErrConsumerPriorityPolicyWithoutGroup
	}
	for _, g := range c.PriorityGroups {
		if g == "" {
			return ErrConsumerEmptyGroupName
		}
		if !ValidGroup(g) {
			return ErrConsumerInvalidGroupName
		}
	}
	return nil
}

// ValidGroup reports whether a priority group may have the name.
func ValidGroup(g string) bool {
	if g == "" || len(g) > maxGroupName {
		return false
	}
	for _, b := range []byte(g) {
		alnum := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		if !alnum && !strings.ContainsRune("/_=-", rune(b)) {
			return false
		}
	}
	return true
}

// CheckUpdate says whether the configuration may replace an older one of the
// same consumer. Both are valid. active tells that the old deliver subject has
// interest.
func (c *ConsumerConfig) CheckUpdate(old *ConsumerConfig, active bool) *Error {
	refuse := func(text string) *Error { return ErrConsumerCreate.With(errors.New(text)) }
	sameTime := func(a, b *time.Time) bool {
		if a == nil || b == nil {
			return a == b
		}
		return a.Equal(*b)
	}
	switch {
	case c.DeliverPolicy != old.DeliverPolicy:
		return refuse("deliver policy can not be updated")
	case c.MemoryStorage != old.MemoryStorage:
		return refuse("storage type can not be updated")
	case c.Direct != old.Direct:
		return refuse("direct can not be updated")
	case c.Sourcing != old.Sourcing:
		return refuse("sourcing can not be updated")
	case c.OptStartSeq != old.OptStartSeq:
		return refuse("start sequence can not be updated")
	case !sameTime(c.OptStartTime, old.OptStartTime):
		return refuse("start time can not be updated")
	case c.AckPolicy != old.AckPolicy:
		return refuse("ack policy can not be updated")
	case c.ReplayPolicy != old.ReplayPolicy:
		return refuse("replay policy can not be updated")
	case c.Heartbeat != old.Heartbeat:
		return refuse("heart beats can not be updated")
	case c.FlowControl != old.FlowControl:
		return refuse("flow control can not be updated")
	case !old.Push() && c.Push():
		return refuse("can not update pull consumer to push based")
	case old.Push() && !c.Push():
		return refuse("can not update push consumer to pull based")
	case c.DeliverSubject != old.DeliverSubject && active:
		return ErrConsumerNameExist
	case c.MaxWaiting != old.MaxWaiting:
		return refuse("max waiting can not be updated")
	}
	return c.checkBackOff()
}

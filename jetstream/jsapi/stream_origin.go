package jsapi

import (
	"fmt"
	"reflect"

	"github.com/natsd/natsd/subjecttree"
)

// The checks of mirrors and sources.

func checkMirror(c *StreamConfig, env *Environment) *Error {
	m := c.Mirror
	if m == nil {
		return nil
	}
	switch {
	case c.FirstSeq > 0:
		return ErrMirrorWithFirstSeq
	case len(c.Subjects) > 0:
		return ErrMirrorWithSubjects
	case len(c.Sources) > 0:
		return ErrMirrorWithSources
	case c.AllowMsgCounter:
		return ErrMirrorWithCounters
	case c.AllowAtomic:
		return ErrMirrorWithAtomicPublish
	case c.AllowBatched:
		return ErrMirrorWithBatchPublish
	case c.AllowMsgSchedules:
		return ErrMirrorWithMsgSchedules
	case !m.validConsumer():
		return ErrMirrorDurableConsumerCfgInvalid
	case m.FilterSubject != "" && len(m.SubjectTransforms) > 0:
		return ErrMirrorMultipleFiltersNotAllowed
	case c.SubjectDeleteMarkerTTL > 0:
		return invalid("subject delete markers forbidden on mirrors")
	}
	if len(m.SubjectTransforms) > maxSubjects {
		return invalid("too many subject transforms, the limit is %d", maxSubjects)
	}
	var before filterSet
	for _, t := range m.SubjectTransforms {
		if t.Source != "" && !validSubject(t.Source) {
			return ErrMirrorInvalidSubjectFilter.With("invalid subject " + t.Source)
		}
		if t.Destination != "" {
			if err := env.CheckTransform(t.Source, t.Destination); err != nil {
				return ErrMirrorInvalidTransformDestination.With(err)
			}
		}
		if !before.add(orAll(t.Source)) {
			return ErrMirrorOverlappingSubjectFilters
		}
	}
	if !m.validName() {
		return ErrMirrorInvalidStreamName
	}
	if m.External == nil {
		if origin := env.stream(m.Name); origin != nil {
			if tooSmall(c, origin) {
				return ErrMirrorMaxMessageSizeTooBig
			}
			if env.Pedantic && origin.AllowDirect != c.MirrorDirect {
				return ErrPedantic.With("origin stream has direct get set, mirror has it disabled")
			}
		}
	}
	return nil
}

func checkSources(c *StreamConfig, env *Environment) *Error {
	if len(c.Sources) == 0 {
		return nil
	}
	if c.AllowMsgSchedules {
		return ErrSourceWithMsgSchedules
	}
	if len(c.Sources) > maxSources {
		return invalid("too many sources, the limit is %d", maxSources)
	}
	for i, s := range c.Sources {
		if s == nil || !s.validName() {
			return ErrSourceInvalidStreamName
		}
		if !s.validConsumer() {
			return ErrSourceDurableConsumerCfgInvalid
		}
		for _, t := range c.Sources[:i] {
			if sameOrigin(s, t) {
				return ErrSourceDuplicateDetected
			}
		}
		for _, t := range c.Sources[:i] {
			if s.Consumer != nil && t.Consumer != nil && s.Name == t.Name && reflect.DeepEqual(s.External, t.External) && s.Consumer.Name == t.Consumer.Name {
				return ErrSourceDurableConsumerDuplicateDetected
			}
		}
		if s.FilterSubject != "" && len(s.SubjectTransforms) > 0 {
			return ErrSourceMultipleFiltersNotAllowed
		}
		if len(s.SubjectTransforms) > maxSubjects {
			return invalid("too many subject transforms, the limit is %d", maxSubjects)
		}
		var before filterSet
		for _, t := range s.SubjectTransforms {
			if t.Source != "" && !validSubject(t.Source) {
				return ErrSourceInvalidSubjectFilter.With("invalid subject " + t.Source)
			}
			if t.Destination != "" {
				if err := env.CheckTransform(t.Source, t.Destination); err != nil {
					return ErrSourceInvalidTransformDestination.With(err)
				}
			}
			if !before.add(orAll(t.Source)) {
				return ErrSourceOverlappingSubjectFilters
			}
		}
		if s.External == nil {
			if origin := env.stream(s.Name); origin != nil && tooSmall(c, origin) {
				return ErrSourceMaxMessageSizeTooBig
			}
		}
	}
	return nil
}

func (env *Environment) stream(name string) *StreamConfig {
	if env.Stream == nil {
		return nil
	}
	return env.Stream(name)
}

func tooSmall(c, origin *StreamConfig) bool {
	return c.MaxMsgSize > 0 && origin.MaxMsgSize > 0 && c.MaxMsgSize < origin.MaxMsgSize
}

// validName checks the origin's name. Elsewhere names may follow other rules, but this
// one becomes a part of subjects and headers.
func (s *StreamSource) validName() bool {
	if s.External != nil {
		return validLiteral(s.Name)
	}
	return ValidName(s.Name) && len(s.Name) <= MaxNameLen
}

// validConsumer checks the reference to a consumer that the user made.
func (s *StreamSource) validConsumer() bool {
	c := s.Consumer
	if c == nil {
		return true
	}
	return ValidName(c.Name) && validLiteral(c.DeliverSubject) &&
		s.OptStartSeq == 0 && s.OptStartTime == nil && s.FilterSubject == ""
}

func orAll(s string) string {
	if s == "" {
		return ">"
	}
	return s
}

func sameOrigin(a, b *StreamSource) bool {
	return a.Name == b.Name && reflect.DeepEqual(a.External, b.External) && a.FilterSubject == b.FilterSubject &&
		reflect.DeepEqual(a.SubjectTransforms, b.SubjectTransforms)
}

// Origins returns the mirror's origin, or the sources.
func (c *StreamConfig) Origins() []*StreamSource {
	if c.Mirror != nil {
		return append([]*StreamSource{c.Mirror}, c.Sources...)
	}
	return c.Sources
}

// checkExternals looks at the prefixes of all origins together: first where they
// deliver, which must not lead into a subject of an origin that this account can
// see, then where their API is.
func checkExternals(c *StreamConfig, env *Environment) *Error {
	var subjects []string
	for _, o := range c.Origins() {
		if origin := env.stream(o.Name); origin != nil {
			subjects = append(subjects, origin.Subjects...)
		}
	}
	for _, o := range c.Origins() {
		if o.External == nil || o.External.DeliverPrefix == "" {
			continue
		}
		p := o.External.DeliverPrefix
		if !validLiteral(p) {
			return ErrStreamInvalidExternalDeliverySubj.With(p)
		}
		for _, s := range subjects {
			if subjecttree.Collide(s, p+"."+s) {
				return ErrStreamExternalDelPrefixOverlaps.With(p, s)
			}
		}
	}
	for _, o := range c.Origins() {
		if o.External == nil || o.External.APIPrefix == "" {
			continue
		}
		p := o.External.APIPrefix
		if !validLiteral(p) {
			return invalid("stream external api prefix %q must be a valid subject without wildcards", p)
		}
		if p == "$JS.API" {
			return ErrStreamExternalApiOverlap.With(p, "$JS.API")
		}
	}
	return nil
}

// checkCycle follows the streams that feed c, those inside the account, and
// refuses a configuration by which a stream would feed itself. An edge back to a
// stream on the way closes a cycle if it is a mirror, if the source has no
// filter, or if the filter can match a subject of the stream that holds it. Ways
// that only meet again are none.
func checkCycle(c *StreamConfig, env *Environment) *Error {
	return CheckCycle(c, env.stream)
}

// CheckCycle is the check for cycles among the streams that stream tells of by name; nil
// where there is none.
func CheckCycle(c *StreamConfig, stream func(name string) *StreamConfig) *Error {
	onWay := make(map[string]bool)
	done := make(map[string]bool)
	var cyclic func(of *StreamConfig) bool
	cyclic = func(of *StreamConfig) bool {
		onWay[of.Name] = true
		defer delete(onWay, of.Name)
		for _, o := range of.Origins() {
			if o.External != nil {
				continue
			}
			if onWay[o.Name] {
				if filters := o.filters(); o == of.Mirror || filters == nil || matchesAny(of.Subjects, filters) {
					return true
				}
				continue
			}
			if next := stream(o.Name); next != nil && !done[o.Name] && cyclic(next) {
				return true
			}
		}
		done[of.Name] = true
		return false
	}
	if cyclic(c) {
		return invalid("detected cycle")
	}
	return nil
}

// filters are the subjects that a source asks for; nil: all.
func (s *StreamSource) filters() []string {
	if s.FilterSubject != "" {
		return []string{s.FilterSubject}
	}
	var list []string
	for _, t := range s.SubjectTransforms {
		list = append(list, orAll(t.Source))
	}
	return list
}

func matchesAny(subjects, filters []string) bool {
	return Patterns(subjects).CollideWith(filters)
}

// checkOriginFilters are checks that the reference makes while it creates the
// stream, and so with another error.
func checkOriginFilters(c *StreamConfig, env *Environment) *Error {
	if m := c.Mirror; m != nil && m.FilterSubject != "" && !validSubject(m.FilterSubject) {
		return ErrStreamCreate.With(fmt.Sprintf("subject filter '%s' for the mirror invalid subject", m.FilterSubject))
	}
	for _, s := range c.Sources {
		if s.FilterSubject != "" && !validSubject(s.FilterSubject) {
			return ErrStreamCreate.With(fmt.Sprintf("subject filter '%s' for the source: invalid subject", s.FilterSubject))
		}
	}
	return nil
}

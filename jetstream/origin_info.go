package jetstream

import (
	"slices"
	"time"

	"github.com/natsd/natsd/jetstream/jsapi"
)

// What others see of a stream's origins.

// originInfo is the state of the mirror and of the sources. On any goroutine.
func (st *Stream) originInfo() (mirror *jsapi.StreamSourceInfo, sources []*jsapi.StreamSourceInfo) {
	for _, o := range st.origins.list() {
		info := &jsapi.StreamSourceInfo{
			Name: o.config.Name, External: o.config.External, Lag: o.behind(), Active: -1,
			FilterSubject: o.config.FilterSubject, SubjectTransforms: o.config.SubjectTransforms,
		}
		if at := o.active.Load(); at != 0 {
			info.Active = time.Duration(max(time.Now().UnixNano()-at, 0))
		}
		o.mu.Lock()
		info.Error = o.err
		o.mu.Unlock()
		if o.mirror {
			mirror = info
		} else {
			sources = append(sources, info)
		}
	}
	return mirror, sources
}

// behind is the number of messages that are still to come, as info shows it: a
// message that was delivered and not the last one counts for those behind it
// without itself.
func (o *origin) behind() uint64 {
	pending := o.pending.Load()
	return pending - min(pending, 1)
}

// answer lets a mirror answer direct gets under its origin's name, or stops that.
// In the turn.
func (o *origin) answer(yes bool) {
	st := o.stream
	if !o.mirror || yes == st.turn.answersForOrigin || yes && (!st.Config().MirrorDirect || o.config.External != nil) {
		return
	}
	st.turn.answersForOrigin = yes
	a := st.account
	name := o.config.Name
	a.mu.Lock()
	defer a.mu.Unlock()
	if yes {
		a.mirrors[name] = append(a.mirrors[name], st)
	} else if a.mirrors[name] = slices.DeleteFunc(a.mirrors[name], func(o *Stream) bool { return o == st }); len(a.mirrors[name]) == 0 {
		delete(a.mirrors, name)
	}
}

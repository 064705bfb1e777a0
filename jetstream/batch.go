package jetstream

import "github.com/natsd/natsd/jetstream/jsapi"

func isFastReply(reply []byte) bool { return false }

func (st *Stream) admitFast(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) {}

func (st *Stream) admitAtomic(p *proposal, cfg *jsapi.StreamConfig, m *publish, now int64) {
	st.refuse(m.reply, jsapi.ErrAtomicPublishDisabled)
}

package account

import "sync"

const (
	// A handler gets its messages at the end of the producer's batch, or when
	// there are this many.
	maxBatchMessages = 1024
	// keptBatch bounds the messages whose place a spare batch keeps.
	keptBatch = 1024
)

// batch is what one producer has for one handler.
type batch interface {
	owner() Receiver
	flush(p *Producer)
}

// Handler is a receiver inside the server. It is called once for each batch of a
// producer, with what became of the messages.
type Handler[M any] struct {
	kind    Kind
	convert func(p *Producer, s *Sub, m *Msg) (M, bool)
	handle  func(p *Producer, msgs []M)
	spare   sync.Pool // of *handlerBatch[M]
}

// NewHandler returns a receiver that gives handle what convert makes of each
// message; convert may refuse one. The slices of a message are valid until
// handle returns. handle may publish through p, and must not block.
func NewHandler[M any](kind Kind, convert func(*Producer, *Sub, *Msg) (M, bool), handle func(*Producer, []M)) *Handler[M] {
	return &Handler[M]{kind: kind, convert: convert, handle: handle}
}

// Kind is that of a part of the server.
func (h *Handler[M]) Kind() Kind { return h.kind }

// Deliver collects a message.
func (h *Handler[M]) Deliver(p *Producer, s *Sub, m *Msg) bool {
	v, ok := h.convert(p, s, m)
	if !ok {
		return false
	}
	s.delivered.Add(1)
	p.volatile = true
	if m.Trace != nil {
		m.Trace.Hold() // until the handler has seen it
		p.traces = append(p.traces, m.Trace)
	}
	var b *handlerBatch[M]
	// The newest is the most likely.
	for i := len(p.batches) - 1; i >= 0; i-- {
		if p.batches[i].owner() == Receiver(h) {
			b = p.batches[i].(*handlerBatch[M])
			break
		}
	}
	if b == nil {
		if b, ok = h.spare.Get().(*handlerBatch[M]); !ok {
			b = &handlerBatch[M]{h: h}
		}
		p.batches = append(p.batches, b)
	}
	b.msgs = append(b.msgs, v)
	if len(b.msgs) >= maxBatchMessages {
		b.run(p)
	}
	return true
}

type handlerBatch[M any] struct {
	h    *Handler[M]
	msgs []M
}

func (b *handlerBatch[M]) owner() Receiver { return b.h }

func (b *handlerBatch[M]) run(p *Producer) {
	msgs := b.msgs
	b.msgs = nil // handle may route to the same handler
	b.h.handle(p, msgs)
	clear(msgs)
	if b.msgs == nil && cap(msgs) <= keptBatch {
		b.msgs = msgs[:0]
	}
}

func (b *handlerBatch[M]) flush(p *Producer) {
	for len(b.msgs) > 0 {
		b.run(p)
	}
	b.h.spare.Put(b)
}

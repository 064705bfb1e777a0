package jetstream

import "bytes"

// The headers that JetStream reads or writes. Names are case-sensitive.
const (
	hdrMsgID              = "Nats-Msg-Id"
	hdrExpectedStream     = "Nats-Expected-Stream"
	hdrExpectedLastSeq    = "Nats-Expected-Last-Sequence"
	hdrExpectedLastMsgID  = "Nats-Expected-Last-Msg-Id"
	hdrExpectedSubjectSeq = "Nats-Expected-Last-Subject-Sequence"
	hdrExpectedSubject    = "Nats-Expected-Last-Subject-Sequence-Subject"
	hdrRollup             = "Nats-Rollup"
	hdrTTL                = "Nats-TTL"
	hdrMarkerReason       = "Nats-Marker-Reason"
	hdrIncr               = "Nats-Incr"
	hdrCounterSources     = "Nats-Counter-Sources"
	hdrBatchID            = "Nats-Batch-Id"
	hdrBatchSeq           = "Nats-Batch-Sequence"
	hdrBatchCommit        = "Nats-Batch-Commit"
	hdrSchedule           = "Nats-Schedule"
	hdrScheduleTarget     = "Nats-Schedule-Target"
	hdrScheduleSource     = "Nats-Schedule-Source"
	hdrScheduleTTL        = "Nats-Schedule-TTL"
	hdrScheduleRollup     = "Nats-Schedule-Rollup"
	hdrScheduleZone       = "Nats-Schedule-Time-Zone"
	hdrScheduler          = "Nats-Scheduler"
	hdrScheduleNext       = "Nats-Schedule-Next"
	hdrStreamSource       = "Nats-Stream-Source"
	hdrRequestInfo        = "Nats-Request-Info"
	hdrTraceDest          = "Nats-Trace-Dest"

	hdrStream      = "Nats-Stream"
	hdrSubject     = "Nats-Subject"
	hdrSequence    = "Nats-Sequence"
	hdrTimeStamp   = "Nats-Time-Stamp"
	hdrLastSeq     = "Nats-Last-Sequence"
	hdrMsgSize     = "Nats-Msg-Size"
	hdrNumPending  = "Nats-Num-Pending"
	hdrUpToSeq     = "Nats-UpTo-Sequence"
	hdrStreamIdent = "Nats-Stream-Identity"
)

// pubHeader is what a publish says about itself in its headers. A field is nil
// if the header is not there, and empty if it is there without a value. The
// slices point into the header block. Of a header that comes twice the first
// counts.
type pubHeader struct {
	msgID                                                []byte
	expectedStream, expectedLastSeq, expectedLastMsgID   []byte
	expectedSubjectSeq, expectedSubject                  []byte
	rollup, ttl, incr                                    []byte
	batchID, batchSeq, batchCommit, requiredLevel        []byte
	schedule, scheduleTarget, scheduleSource             []byte
	scheduleTTL, scheduleRollup, scheduleZone            []byte
	scheduler, scheduleNext                              []byte
	streamSource, counterSources, traceDest, requestInfo []byte
	markerReason                                         []byte
}

// parse reads a header block in one pass. It does not allocate.
func (h *pubHeader) parse(block []byte) {
	*h = pubHeader{}
	nl := bytes.IndexByte(block, '\n')
	if nl < 0 {
		return
	}
	for rest := block[nl+1:]; len(rest) > 2; {
		nl := bytes.IndexByte(rest, '\n')
		if nl < 0 {
			return
		}
		line := rest[:nl]
		rest = rest[nl+1:]
		if len(line) < 8 || string(line[:5]) != "Nats-" {
			continue
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		field := h.field(line[:colon])
		if field == nil || *field != nil {
			continue
		}
		value := line[colon+1:]
		for len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		if n := len(value); n > 0 && value[n-1] == '\r' {
			value = value[:n-1]
		}
		*field = value[:len(value):len(value)]
	}
}

func (h *pubHeader) field(name []byte) *[]byte {
	switch string(name) {
	case hdrMsgID:
		return &h.msgID
	case hdrExpectedStream:
		return &h.expectedStream
	case hdrExpectedLastSeq:
		return &h.expectedLastSeq
	case hdrExpectedLastMsgID:
		return &h.expectedLastMsgID
	case hdrExpectedSubjectSeq:
		return &h.expectedSubjectSeq
	case hdrExpectedSubject:
		return &h.expectedSubject
	case hdrRollup:
		return &h.rollup
	case hdrTTL:
		return &h.ttl
	case hdrIncr:
		return &h.incr
	case hdrBatchID:
		return &h.batchID
	case hdrBatchSeq:
		return &h.batchSeq
	case hdrBatchCommit:
		return &h.batchCommit
	case requiredLevelHeader:
		return &h.requiredLevel
	case hdrSchedule:
		return &h.schedule
	case hdrScheduleTarget:
		return &h.scheduleTarget
	case hdrScheduleSource:
		return &h.scheduleSource
	case hdrScheduleTTL:
		return &h.scheduleTTL
	case hdrScheduleRollup:
		return &h.scheduleRollup
	case hdrScheduleZone:
		return &h.scheduleZone
	case hdrScheduler:
		return &h.scheduler
	case hdrScheduleNext:
		return &h.scheduleNext
	case hdrStreamSource:
		return &h.streamSource
	case hdrCounterSources:
		return &h.counterSources
	case hdrTraceDest:
		return &h.traceDest
	case hdrRequestInfo:
		return &h.requestInfo
	case hdrMarkerReason:
		return &h.markerReason
	}
	return nil
}

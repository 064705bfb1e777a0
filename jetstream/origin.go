package jetstream

import "github.com/natsd/natsd/jetstream/jsapi"

// originInfo is the state of the mirror and of the sources.
func (st *Stream) originInfo() (mirror *jsapi.StreamSourceInfo, sources []*jsapi.StreamSourceInfo) {
	return nil, nil
}

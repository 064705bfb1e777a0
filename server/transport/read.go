package transport

const (
	minReadBuffer   = 64
	firstReadBuffer = 512
	maxReadBuffer   = 64 << 10
	// shrinkAfter short reads in a row a buffer is halved: an idle connection
	// settles at a small one, and one short read alone changes nothing.
	shrinkAfter = 2
)

// Read reads until the socket fails, handle returns an error, or the connection
// is closed, and returns that error (io.EOF at the end of the input). The slice
// given to handle is valid during the call.
//
// Plain TCP sockets read into a buffer that is borrowed only while there is
// something to read; other sockets have a buffer of their own that follows the
// traffic between 64 bytes and 64 KiB.
func (c *Conn) Read(handle func([]byte) error) error {
	if c.raw != nil {
		defer c.rest.end(false)
		return c.raw.readLoop(handle, &c.rest)
	}
	buf := make([]byte, firstReadBuffer)
	short := 0
	for {
		n, err := c.nc.Read(buf)
		if n > 0 {
			c.rest.began()
			if herr := handle(buf[:n]); herr != nil {
				return herr
			}
		}
		if err != nil {
			return err
		}
		switch {
		case n == len(buf):
			short = 0
			if len(buf) < maxReadBuffer {
				buf = make([]byte, 2*len(buf))
			}
		case n < len(buf)/2:
			short++
			if short > shrinkAfter && len(buf) > minReadBuffer {
				buf = make([]byte, len(buf)/2)
			}
		}
	}
}

package wire

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// MaxDrain is how much of an unread body is read and dropped to keep a
// connection. Beyond it, closing is cheaper.
const MaxDrain = 256 << 10

// errUndrained means that the rest of the previous body was too long to drop.
var errUndrained = errors.New("wire: the rest of the body is longer than what is dropped")

// Body is a request's body with exact framing: it never reads a byte of what
// follows. It may be read and closed by different goroutines. A chunked body
// with extensions or trailers ends with an *Error instead of io.EOF, and
// whoever forwards it must then break off what was forwarded: dropping them
// would send something else than was asked for.
type Body struct {
	closed atomic.Bool
	first  func() error // before the first read of the stream; may be nil

	mu      sync.Mutex
	br      *bufio.Reader
	left    int64 // of the whole body, or of the present chunk
	chunked bool
	inside  bool  // a chunk's data was begun and its CR LF not read yet
	err     error // the end, sticky: io.EOF when all was well
}

func (b *Body) init(br *bufio.Reader, length int64) {
	b.br, b.left = br, length
	if length == Chunked {
		b.chunked, b.left = true, 0
	}
}

// Read reads the body.
func (b *Body) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, ErrBodyClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, ErrBodyClosed
	}
	return b.read(p)
}

// Close makes every later Read fail. The rest is dropped when the next
// request is read, by the goroutine that reads it.
func (b *Body) Close() error {
	b.closed.Store(true)
	return nil
}

// read is called with mu held.
func (b *Body) read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.first != nil {
		first := b.first
		b.first = nil
		if err := first(); err != nil {
			return 0, b.fail(err)
		}
	}
	if b.chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, b.fail(err)
		}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.br.Read(p)
	b.left -= int64(n)
	switch {
	case err != nil && n == 0:
		return 0, b.fail(err)
	case b.left == 0 && !b.chunked:
		b.err = io.EOF
		return n, io.EOF
	}
	return n, nil
}

func (b *Body) fail(err error) error {
	switch {
	case err == errLast:
		err = io.EOF
	case err == io.EOF: // the stream's end, not the body's
		err = io.ErrUnexpectedEOF
	}
	b.err = slow(err, errBodySlow)
	return b.err
}

// errLast means that all was read.
var errLast = errors.New("wire: the body was read whole")

// nextChunk reads up to the data of the next chunk (RFC 9112, section 7.1).
func (b *Body) nextChunk() error {
	if b.inside {
		b.inside = false
		if err := b.crlf(errChunk); err != nil {
			return err
		}
	}
	var n int64
	for digits := 0; ; digits++ {
		c, err := b.br.ReadByte()
		if err != nil {
			return err
		}
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		case c == ';':
			return errChunkExt
		case c == '\r' && digits > 0:
			if c, err = b.br.ReadByte(); err != nil {
				return err
			}
			if c != '\n' {
				return errChunk
			}
			if n == 0 {
				return b.last()
			}
			b.left, b.inside = n, true
			return nil
		default:
			return errChunk
		}
		if digits == 16 {
			return errChunk
		}
		if n = n<<4 | int64(d); n > MaxLength {
			return errChunk
		}
	}
}

// last reads the empty line after the last chunk. Trailers are refused: they
// are fields that no rule has seen.
func (b *Body) last() error {
	if err := b.crlf(errTrailer); err != nil {
		return err
	}
	return errLast
}

func (b *Body) crlf(otherwise *Error) error {
	for _, want := range "\r\n" {
		c, err := b.br.ReadByte()
		if err != nil {
			return err
		}
		if c != byte(want) {
			return otherwise
		}
	}
	return nil
}

// unread says how much may still come: 0 when the body was read to its end,
// Chunked when that cannot be known, as while another goroutine reads it.
func (b *Body) unread() int64 {
	if !b.mu.TryLock() {
		return Chunked
	}
	defer b.mu.Unlock()
	switch {
	case b.err == io.EOF:
		return 0
	case b.chunked:
		return Chunked
	}
	return b.left
}

// sever disconnects the body from the stream without reading the rest.
func (b *Body) sever() {
	b.closed.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.br, b.err = nil, ErrBodyClosed
}

// end drops the rest. After it, the body is no longer connected to the stream.
func (b *Body) end() error {
	b.closed.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.br, b.err = nil, ErrBodyClosed }()
	if b.first != nil && b.err == nil {
		// The client was never told to go on, so it may send the body or not.
		return errContinue
	}
	for dropped := int64(0); b.err == nil; {
		if dropped+b.left > MaxDrain {
			return errUndrained
		}
		n, err := b.br.Discard(int(b.left))
		dropped += int64(n)
		b.left -= int64(n)
		switch {
		case err != nil:
		case b.chunked:
			err = b.nextChunk()
		default:
			err = errLast
		}
		if err != nil {
			_ = b.fail(err)
		}
	}
	if b.err != io.EOF {
		return b.err
	}
	return nil
}

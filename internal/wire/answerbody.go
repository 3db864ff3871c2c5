package wire

import (
	"bufio"
	"bytes"
	"io"
	"sync"
	"sync/atomic"
)

// Limits of what stands around a chunked body's data.
const (
	maxChunkLine = 4 << 10 // size and extensions
	maxTrailers  = 64 << 10
)

// answerBody is the body of an upstream's answer. It gives io.EOF only after
// its clean end, and hands the connection back right there.
type answerBody struct {
	x      *exchange // never changed
	closed atomic.Bool

	mu      sync.Mutex // held by Read and by Close
	left    int64      // of the body, or of the present chunk; Unknown when the connection's end ends it
	chunked bool
	inside  bool  // a chunk's data was begun and its CR LF not read yet
	err     error // the end, sticky; once it is set the connection may be another's
}

// Read reads the body.
func (b *answerBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, ErrBodyClosed
	}
	return b.readLocked(p)
}

// Close ends the exchange. What has arrived already is read and dropped to
// keep the connection, up to MaxDrain; nothing more is waited for. A Read
// under way ends with an error.
func (b *answerBody) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	if !b.mu.TryLock() {
		b.x.breakOff() // somebody reads, and that ends when the connection does
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	if b.err == nil && b.x.mayKeep() {
		b.drainLocked()
	}
	if b.err == nil {
		b.endLocked(ErrBodyClosed)
	}
	return nil
}

func (b *answerBody) drainLocked() {
	link := b.x.conn.link
	link.probing = true
	drop := make([]byte, 4<<10)
	for dropped := 0; b.err == nil && dropped < MaxDrain; {
		n, _ := b.readLocked(drop)
		dropped += n
	}
	link.probing = false
}

func (b *answerBody) readLocked(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	var err error
	switch {
	case b.chunked:
		n, err = b.readChunks(p)
	case b.left == Unknown:
		n, err = b.x.in.br.Read(p)
		if err == io.EOF && b.x.conn.truncated() {
			err = io.ErrUnexpectedEOF
		}
	default:
		n, err = b.x.in.br.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		switch {
		case b.left == 0:
			err = io.EOF
		case err == io.EOF:
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		b.endLocked(err)
	}
	return n, b.err
}

// endLocked ends the exchange, well if err is io.EOF.
func (b *answerBody) endLocked(err error) {
	b.err = b.x.why(err)
	b.x.end(err == io.EOF)
}

// readChunks reads what there is of one chunk, and of those after it whose
// beginnings have arrived: many small ones are one read, and none is waited
// for once there is something to give (T41).
func (b *answerBody) readChunks(p []byte) (n int, err error) {
	br := b.x.in.br
	for {
		if b.left == 0 {
			if err := b.nextChunk(br); err != nil {
				return n, err
			}
		}
		m, err := br.Read(p[n:min(int64(len(p)), int64(n)+b.left)])
		n += m
		b.left -= int64(m)
		if err != nil {
			return n, unexpected(err)
		}
		if b.left > 0 || !moreIsHere(br, n < len(p)) {
			return n, nil
		}
	}
}

// moreIsHere reports whether what follows the chunk that was just read is in
// the buffer: the end of the body, so that the connection is free at once, or,
// while there is room, the size of another chunk and some of its data.
func moreIsHere(br *bufio.Reader, room bool) bool {
	const end = "\r\n0\r\n\r\n"
	have, _ := br.Peek(br.Buffered())
	if len(have) <= 2 || !room || have[2] == '0' {
		return bytes.HasPrefix(have, []byte(end))
	}
	line := bytes.IndexByte(have[2:], '\n')
	return line >= 0 && 2+line+1 < len(have)
}

// nextChunk reads up to the data of the next chunk (RFC 9112, section 7.1).
// Extensions, which section 7.1.1 has us ignore, and trailers are dropped:
// nothing of them is handed on, so nobody can read them otherwise.
func (b *answerBody) nextChunk(br *bufio.Reader) error {
	if b.inside {
		b.inside = false
		line, err := chunkLine(br)
		if err != nil {
			return err
		}
		if len(line) > 0 {
			return errAnswerChunk
		}
	}
	line, err := chunkLine(br)
	if err != nil {
		return err
	}
	var size int64
	digits := 0
	for ; digits < len(line) && isHex(line[digits]); digits++ {
		if digits == 16 {
			return errAnswerChunk
		}
		if size = size<<4 | int64(unhex(line[digits])); size > MaxLength {
			return errAnswerChunk
		}
	}
	// Some servers pad the size with spaces.
	if rest := line[digits:]; digits == 0 || len(rest) > 0 && rest[0] != ';' && rest[0] != ' ' && rest[0] != '\t' {
		return errAnswerChunk
	}
	if size > 0 {
		b.left, b.inside = size, true
		return nil
	}
	for trailers := 0; ; {
		line, err := chunkLine(br)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
		if trailers += len(line); trailers > maxTrailers || !isToken(line[:max(bytes.IndexByte(line, ':'), 0)]) {
			return errAnswerChunk
		}
	}
}

// chunkLine reads one line, without its CR LF.
func chunkLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, errAnswerChunk
	case err != nil:
		return nil, unexpected(err)
	}
	n := len(line) - len("\r\n")
	if n < 0 || n > maxChunkLine || line[n] != '\r' || !validValue(line[:n]) {
		return nil, errAnswerChunk
	}
	return line[:n], nil
}

func unexpected(err error) error {
	if err == io.EOF { // the stream's end, not the body's
		return io.ErrUnexpectedEOF
	}
	return err
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

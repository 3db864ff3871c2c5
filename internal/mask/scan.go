package mask

import (
	"unicode/utf8"
)

// A scan runs over one stream. Positions are counted in bytes from the
// stream's beginning.
//
// Three readings of the stream are searched: as it is, percent-decoded and
// JSON-unescaped. A decoded reading is the plain one as long as no escape
// turns up, so it is not run at all then: it is split off at an escape, in
// the state that the plain reading has there, and dropped again when both are
// back at the root, where they cannot differ in what follows.
type scan struct {
	set   *Set
	pos   int64
	plain state
	pct   reading
	json  reading
	spans []span // to be masked, in order, disjoint
	count int
}

// state is where the two tries are.
type state struct{ text, hexes int32 }

// reading is a decoded reading, split off from the plain one.
type reading struct {
	on    bool
	state state
	froms []int64 // ring: where in the stream each of the last symbols began
	n     int     // symbols so far
	esc   [12]byte
	held  int // bytes in esc: an escape that is not complete
}

type span struct{ from, to int64 }

// feed takes the next bytes.
func (s *scan) feed(p []byte) {
	set := s.set
	for i := 0; i < len(p); i++ {
		if s.plain == (state{}) && !s.pct.on && !s.json.on {
			skip := i
			for i < len(p) && !set.stir[p[i]] {
				i++
			}
			s.pos += int64(i - skip)
			if i == len(p) {
				return
			}
		}
		s.byte(p[i])
	}
}

func (s *scan) byte(c byte) {
	switch {
	case c == '%' && !s.pct.on:
		s.split(&s.pct)
	case c == '\\' && !s.json.on:
		s.split(&s.json)
	}
	if n := s.step(&s.plain, c); n > 0 {
		s.mark(s.pos+1-n, s.pos+1)
	}
	if s.pct.on {
		s.percent(c, s.pos)
		s.join(&s.pct)
	}
	if s.json.on {
		s.unescape(c, s.pos)
		s.join(&s.json)
	}
	s.pos++
}

// step moves on by one symbol and gives the length, in symbols, of the longest
// pattern that ends with it.
func (s *scan) step(at *state, c byte) int64 {
	at.text = s.set.text.step(at.text, c)
	at.hexes = s.set.hexes.step(at.hexes, lower[c])
	return int64(max(s.set.text.nodes[at.text].found, s.set.hexes.nodes[at.hexes].found))
}

// open is how many of the last symbols may be the beginning of a match.
func (s *scan) open(at state) int64 {
	return int64(max(s.set.text.nodes[at.text].open, s.set.hexes.nodes[at.hexes].open))
}

// split starts a decoded reading before the present byte. The symbols it may
// still need are the ones of a match under way.
func (s *scan) split(r *reading) {
	if r.froms == nil {
		r.froms = make([]int64, s.set.ring)
	}
	r.on, r.state, r.n, r.held = true, s.plain, 0, 0
	for from := s.pos - s.open(s.plain); from < s.pos; from++ {
		r.froms[r.n] = from
		r.n++
	}
}

// join drops a decoded reading that can no longer differ from the plain one.
func (s *scan) join(r *reading) {
	if r.held == 0 && r.state == (state{}) && s.plain == (state{}) {
		r.on = false
	}
}

// symbol is a decoded byte that the stream has between from and to.
func (s *scan) symbol(r *reading, c byte, from, to int64) {
	r.froms[r.n&(len(r.froms)-1)] = from
	r.n++
	if n := s.step(&r.state, c); n > 0 {
		s.mark(r.froms[(r.n-int(n))&(len(r.froms)-1)], to)
	}
}

// percent feeds the percent-decoded reading (RFC 3986, section 2.1).
func (s *scan) percent(c byte, pos int64) {
	r := &s.pct
	switch {
	case r.held == 0 && c != '%':
		s.symbol(r, c, pos, pos+1)
		return
	case r.held == 0 || r.held == 1 && isHex(c):
		r.esc[r.held] = c
		r.held++
		return
	case r.held == 2 && isHex(c):
		r.held = 0
		s.symbol(r, unhex(r.esc[1])<<4|unhex(c), pos-2, pos+1)
		return
	}
	// No escape after all: the '%' is itself, and what follows is looked at
	// again.
	r.esc[r.held] = c
	s.again(r, s.percent, pos)
}

// again takes the first byte of a broken escape, whose last one is at pos, as
// it is, and reads the others anew.
func (s *scan) again(r *reading, read func(byte, int64), pos int64) {
	esc, held := r.esc, r.held
	r.held = 0
	from := pos - int64(held)
	s.symbol(r, esc[0], from, from+1)
	for i := 1; i <= held; i++ {
		read(esc[i], from+int64(i))
	}
}

// simple are the escapes of one letter (RFC 8259, section 7).
var simple = [256]byte{'"': '"', '\\': '\\', '/': '/', '\'': '\'', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape feeds the JSON-unescaped reading.
func (s *scan) unescape(c byte, pos int64) {
	r := &s.json
	held := r.held
	if held == 0 && c != '\\' {
		s.symbol(r, c, pos, pos+1)
		return
	}
	from := pos - int64(held)
	r.esc[held] = c
	switch {
	case held == 1 && simple[c] != 0:
		r.held = 0
		s.symbol(r, simple[c], from, pos+1)
	case held == 3 && r.esc[1] == 'x' && isHex(c):
		r.held = 0
		s.symbol(r, unhex(r.esc[2])<<4|unhex(c), from, pos+1)
	case held == 5 && r.esc[1] == 'u' && isHex(c):
		if u := r.unit(2); u < 0xd800 || u > 0xdfff {
			r.held = 0
			s.rune(u, from, pos+1)
		} else if u > 0xdbff {
			s.again(r, s.unescape, pos) // a low surrogate alone
		} else {
			r.held++
		}
	case held == 11 && isHex(c) && r.unit(8) >= 0xdc00 && r.unit(8) <= 0xdfff:
		r.held = 0
		s.rune(0x10000+(r.unit(2)-0xd800)<<10+(r.unit(8)-0xdc00), from, pos+1)
	case r.open(held, c):
		r.held++
	default:
		s.again(r, s.unescape, pos)
	}
}

// open reports whether c at place held keeps an escape going.
func (r *reading) open(held int, c byte) bool {
	switch held {
	case 0:
		return true // the backslash
	case 1:
		return c == 'u' || c == 'x'
	case 6: // after a high surrogate
		return c == '\\'
	case 7:
		return c == 'u'
	}
	return isHex(c) && held < 11
}

// unit is the UTF-16 code unit whose four digits begin at i.
func (r *reading) unit(i int) rune {
	var u rune
	for _, c := range r.esc[i : i+4] {
		u = u<<4 | rune(unhex(c))
	}
	return u
}

// rune feeds a character as its UTF-8 bytes.
func (s *scan) rune(c rune, from, to int64) {
	var b [utf8.UTFMax]byte
	for _, c := range b[:utf8.EncodeRune(b[:], c)] {
		s.symbol(&s.json, c, from, to)
	}
}

// mark adds a span. Ends never go back, so only the last spans can overlap.
func (s *scan) mark(from, to int64) {
	for n := len(s.spans); n > 0 && s.spans[n-1].to > from; n-- {
		from, to = min(from, s.spans[n-1].from), max(to, s.spans[n-1].to)
		s.spans = s.spans[:n-1]
	}
	s.spans = append(s.spans, span{from, to})
}

// settled is the position before which no match can begin any more.
func (s *scan) settled() int64 {
	at := s.pos - s.open(s.plain)
	for _, r := range []*reading{&s.pct, &s.json} {
		if !r.on {
			continue
		}
		at = min(at, s.pos-int64(r.held))
		if d := s.open(r.state); d > 0 {
			at = min(at, r.froms[(r.n-int(d))&(len(r.froms)-1)])
		}
	}
	return at
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

package wire

import (
	"iter"
	"slices"
	"strings"
)

// Field is one header field, spelled as it was sent.
type Field struct {
	Name  string
	Value string
}

// Header is a list of fields in the order they were sent. Names are compared
// without regard to case (RFC 9110, section 5.1).
type Header []Field

// Get is the value of the first field with the name, or "".
func (h Header) Get(name string) string {
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			return h[i].Value
		}
	}
	return ""
}

// Count is how many fields have the name.
func (h Header) Count(name string) int {
	n := 0
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			n++
		}
	}
	return n
}

// Values are the values of all fields with the name, in order.
func (h Header) Values(name string) []string {
	var vs []string
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			vs = append(vs, h[i].Value)
		}
	}
	return vs
}

// Del removes every field with the name, in whatever case and with '_' for
// '-': what some server may take for the same field (T24).
func (h *Header) Del(name string) {
	*h = slices.DeleteFunc(*h, func(f Field) bool { return sameName(f.Name, name) })
}

// Add appends a field.
func (h *Header) Add(name, value string) { *h = append(*h, Field{name, value}) }

// Set replaces every field that Del would remove by one, where the first of
// them stood, or else at the end.
func (h *Header) Set(name, value string) {
	for i, f := range *h {
		if sameName(f.Name, name) {
			(*h)[i] = Field{name, value}
			rest := (*h)[i+1:]
			rest.Del(name)
			*h = (*h)[:i+1+len(rest)]
			return
		}
	}
	h.Add(name, value)
}

// Clone is a copy that shares nothing that can change.
func (h Header) Clone() Header { return slices.Clone(h) }

// token has a true for each byte of a token (RFC 9110, section 5.6.2).
var token = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// sameName reports whether the most forgiving server takes a and b for one
// name: without regard to case, and '_' for '-', since CGI and WSGI make the
// two the same.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

func isToken[S string | []byte](s S) bool {
	for i := range len(s) {
		if !token[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

// validValue reports whether s can stand in a field's value: visible ASCII,
// space, tab and bytes above 0x7f (RFC 9110, section 5.5). CR, LF and NUL
// cannot, so no value ends its line.
func validValue[S string | []byte](s S) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// elements yields the elements of a comma-separated list, without empty ones
// (RFC 9110, section 5.6.1.2).
func elements(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(list, ",") {
			if e = strings.Trim(e, " \t"); e != "" && !yield(e) {
				return
			}
		}
	}
}

package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// leaks is an oracle of its own: it decodes in one piece what the masker
// matches in a stream.
func leaks(out, value string) string {
	views := map[string]string{"": out}
	// Cutting a value that holds an escape character out of a text can change
	// how its neighbours decode; the package comment says so.
	if !strings.ContainsAny(value, `%\\`) {
		views["percent"], views["json"] = percentDecoded(out), jsonDecoded(out)
	}
	lowHex := strings.ToLower(hex.EncodeToString([]byte(value)))
	for name, v := range views {
		switch {
		case strings.Contains(v, value):
			return name + " raw"
		case strings.Contains(strings.ToLower(v), lowHex):
			return name + " hex"
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for before := range 3 {
				form := e.EncodeToString([]byte(strings.Repeat("\x00", before) + value + "\x00\x00"))
				if core := form[(8*before+5)/6 : 8*(before+len(value))/6]; strings.Contains(v, core) {
					return name + " base64"
				}
			}
		}
	}
	return ""
}

func percentDecoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i] == '%' {
			if d, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.Write(d)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

var jsonEscape = regexp.MustCompile(`\\(?:["\\/'bfnrt]|x[0-9a-fA-F]{2}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})`)

func jsonDecoded(s string) string {
	return jsonEscape.ReplaceAllStringFunc(s, func(e string) string {
		if e[1] == 'x' {
			b, _ := hex.DecodeString(e[2:])
			return string(b)
		}
		if e[1] == '\'' {
			return "'"
		}
		if len(e) == 6 && (e[2] == 'd' || e[2] == 'D') && e[3] >= '8' {
			return e // half a character is none
		}
		var c string
		if json.Unmarshal([]byte(`"`+e+`"`), &c) != nil {
			return e
		}
		return c
	})
}

// FuzzMask: however a stream is cut, no listed form of the value gets through,
// the result is the same, and a stream without it is not changed.
func FuzzMask(f *testing.F) {
	f.Add([]byte("sk-secret"), []byte("before\x00after\x01%\x02\\"), uint8(0), uint16(0x1234))
	f.Add([]byte("aaaaaaa"), []byte("a\x00a\x01a\x02a"), uint8(1), uint16(1))
	f.Add([]byte("%41%41%41"), []byte("%\x03%4\x04\\u00\x05"), uint8(2), uint16(7))
	f.Add([]byte("*#~^|!@[]"), []byte("\x06\x07\x08\x09"), uint8(0), uint16(3))
	f.Add([]byte("\\\\\\\"\"\""), []byte("\\\x07\\\\\x07\\u\x07"), uint8(0), uint16(3))
	f.Fuzz(func(t *testing.T, value, template []byte, before uint8, cuts uint16) {
		if len(value) < MinSecret || len(value) > 64 {
			return
		}
		s, err := New(value)
		if err != nil {
			t.Fatal(err)
		}
		// Bytes 0 to 9 of the template stand for a form of the value.
		pad := strings.Repeat("u", int(before%7))
		padded := pad + string(value) + pad
		quoted := ""
		if utf8.Valid(value) {
			b, _ := json.Marshal(string(value))
			quoted = string(b[1 : len(b)-1])
		}
		insert := []string{
			string(value), hex.EncodeToString(value), strings.ToUpper(hex.EncodeToString(value)),
			base64.StdEncoding.EncodeToString([]byte(padded)), base64.RawURLEncoding.EncodeToString([]byte(padded)),
			url.QueryEscape(string(value)), url.PathEscape(base64.StdEncoding.EncodeToString([]byte(padded))),
			quoted, strings.ToLower(url.QueryEscape(padded)), url.QueryEscape(hex.EncodeToString(value)),
		}
		var in bytes.Buffer
		for _, c := range template {
			if int(c) < len(insert) {
				in.WriteString(insert[c])
			} else {
				in.WriteByte(c)
			}
		}
		want, n := masked(t, s, in.String(), in.Len()+1)
		if n == 0 && want != in.String() {
			t.Fatalf("nothing masked, but %q becomes %q", in.String(), want)
		}
		if len(want) > in.Len() {
			t.Fatalf("%q grows to %q", in.String(), want)
		}
		if got, m := masked(t, s, in.String(), 1+int(cuts%97)); got != want || m != n {
			t.Fatalf("%q: cut otherwise %q (%d), in one piece %q (%d)", in.String(), got, m, want, n)
		}
		if got, ok := s.MaskHeader(in.String()); ok != (n > 0) || leaks(got, string(value)) != "" && !hopeless(value) {
			t.Fatalf("%q in a header becomes %q", in.String(), got)
		}
		if hopeless(value) {
			return
		}
		if form := leaks(want, string(value)); form != "" {
			t.Fatalf("%s of %q is left in %q, of %q", form, value, want, in.String())
		}
	})
}

// hopeless values have every byte that could fill a gap.
func hopeless(value []byte) bool {
	for _, c := range []byte("*#~^|!@") {
		if bytes.IndexByte(value, c) < 0 {
			return false
		}
	}
	return true
}

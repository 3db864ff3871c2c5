package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

const secret = `sk-T0p/S3cr"t+val=ue~%41é😀`

func mustSet(t testing.TB, secrets ...string) *Set {
	t.Helper()
	var bs [][]byte
	for _, s := range secrets {
		bs = append(bs, []byte(s))
	}
	s, err := New(bs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// masked is what comes out for in, cut into chunks.
func masked(t testing.TB, s *Set, in string, chunk int) (string, int) {
	t.Helper()
	var out strings.Builder
	w := s.NewWriter(&out)
	for len(in) > 0 {
		n := min(chunk, len(in))
		if m, err := io.WriteString(w, in[:n]); m != n || err != nil {
			t.Fatal(m, err)
		}
		in = in[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), w.Count()
}

// forms are the encodings that the package comment lists.
func forms(value string) map[string]string {
	quoted, _ := json.Marshal(value)
	inJSON := string(quoted[1 : len(quoted)-1])
	var allPercent, lowPercent, allJSON, js strings.Builder
	for i := range len(value) {
		fmt.Fprintf(&allPercent, "%%%02X", value[i])
		fmt.Fprintf(&lowPercent, "%%%02x", value[i])
	}
	for _, r := range value {
		if r > 0xffff {
			r -= 0x10000
			fmt.Fprintf(&allJSON, `\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		fmt.Fprintf(&allJSON, `\u%04x`, r)
	}
	for i := range len(value) {
		fmt.Fprintf(&js, `\x%02X`, value[i])
	}
	return map[string]string{
		"raw":             value,
		"hex":             hex.EncodeToString([]byte(value)),
		"HEX":             strings.ToUpper(hex.EncodeToString([]byte(value))),
		"query":           url.QueryEscape(value),
		"path":            url.PathEscape(value),
		"all percent":     allPercent.String(),
		"lower percent":   lowPercent.String(),
		"first percent":   fmt.Sprintf("%%%02x", value[0]) + url.QueryEscape(value[1:]),
		"json":            inJSON,
		"json solidus":    strings.ReplaceAll(inJSON, "/", `\/`),
		"json all":        allJSON.String(),
		"javascript":      js.String(),
		"base64 in query": url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(value))),
		"base64 in json":  strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(value)), "/", `\/`),
	}
}

// T27: every listed form, at every cut.
func TestTrapT27EveryFormAtEveryCut(t *testing.T) {
	s := mustSet(t, secret, "another secret/value")
	for _, value := range []string{secret, "another secret/value"} {
		for name, form := range forms(value) {
			in := `{"echo":"` + form + `","n":1}`
			want := `{"echo":"` + Marker + `","n":1}`
			if strings.HasPrefix(name, "base64") {
				continue // below: ends of it remain
			}
			for chunk := 1; chunk <= len(in); chunk++ {
				got, n := masked(t, s, in, chunk)
				if got != want || n != 1 {
					t.Fatalf("%s in chunks of %d: %d masked, got %s", name, chunk, n, got)
				}
			}
			if got, ok := s.MaskHeader(in); got != want || !ok {
				t.Errorf("%s in a header: got %s", name, got)
			}
		}
	}
}

// T27: base64 of a text that holds the value somewhere ("user:value").
func TestTrapT27Base64AtEveryAlignment(t *testing.T) {
	for _, value := range []string{"s3cr3t", "s3cr3t7", "s3cr3t78", secret, "\xff\xfb\xff\xbf\xfe\xff"} {
		s := mustSet(t, value)
		for before := range 7 {
			for after := range 5 {
				plain := strings.Repeat("u", before) + value + strings.Repeat("x", after)
				for name, e := range map[string]*base64.Encoding{
					"std": base64.StdEncoding, "raw": base64.RawStdEncoding, "url": base64.URLEncoding, "rawurl": base64.RawURLEncoding,
				} {
					form := e.EncodeToString([]byte(plain))
					for _, in := range []string{form, "Basic " + form + "\n", url.QueryEscape(form), strings.ReplaceAll(form, "/", `\/`)} {
						got, n := masked(t, s, in, 3)
						if n != 1 || !strings.Contains(got, "[") && !strings.Contains(got, "***") {
							t.Fatalf("%s %d before, %d after: %d masked, got %q of %q", name, before, after, n, got, in)
						}
						// What is left of the value is the odd bits at its ends.
						left := len(got) - len(s.filler(int64(len(form))))
						if limit := len(in) - 8*len(value)/6 + 3 + 5*strings.Count(in, "%"); left > limit {
							t.Errorf("%s: %d of %q are left: %q", name, left, in, got)
						}
					}
				}
			}
		}
	}
}

func TestNothingElseChanges(t *testing.T) {
	s := mustSet(t, secret)
	for _, in := range []string{
		"", "s", "sk-", secret[:len(secret)-1], secret[1:], "100%", "%", "%%%4", "%zz%s%k%2", `\`, `\\\`, `\u`, `\ud83d`, `\ud83d\u0041 \ud83d\n`,
		`\udc00`, `\x4`, `{"a":"b\nc\"d\\"}`, "sk-sk-sk-T0p/", "sk-T0p/sk-T0p/S3cr", strings.Repeat("%73%6b%2d", 50), strings.Repeat(`\u0073k-`, 50),
		hex.EncodeToString([]byte(secret))[1:], "\x00\xff\xfe", strings.Repeat("=", 1000),
	} {
		for chunk := 1; chunk <= len(in)+1; chunk++ {
			if got, n := masked(t, s, in, chunk); got != in || n != 0 {
				t.Fatalf("%q in chunks of %d becomes %q", in, chunk, got)
			}
		}
		if got, ok := s.MaskHeader(in); got != in || ok {
			t.Errorf("header %q becomes %q", in, got)
		}
	}
}

func TestOverlapsAndNeighbours(t *testing.T) {
	for _, tc := range []struct {
		secrets []string
		in      string
		want    string
		count   int
	}{
		{[]string{"secret-value-1"}, "secret-value-1secret-value-1", Marker + Marker, 2},
		{[]string{"secret-value-1"}, "secret-secret-value-1-value-1", "secret-" + Marker + "-value-1", 1},
		{[]string{"abcdef"}, "xabcdefx", "x******x", 1},
		{[]string{"abcdefghijkl", "ghijklmnopqr"}, "abcdefghijklmnopqr", Marker, 1},
		{[]string{"abcdef", "abcdefghijklm"}, "abcdefghijklm", Marker, 1},
		{[]string{"abcdef", "abcdefghijklm"}, "abcdefghijkl!", "******ghijkl!", 1},
		{[]string{"aaaaaa"}, strings.Repeat("a", 1000), "", 1},
		{[]string{"ab*ab*"}, "ab*ab*ab*", "", 1},
		{[]string{"masked"}, "masked", "******", 1},
		{[]string{"[writ:masked]"}, "[writ:masked]", "*************", 1},
		{[]string{`quo"ted\value`}, `{"a":"quo\"ted\\value"}`, `{"a":"` + Marker + `"}`, 1},
	} {
		s := mustSet(t, tc.secrets...)
		for chunk := 1; chunk <= len(tc.in); chunk++ {
			got, n := masked(t, s, tc.in, chunk)
			if tc.want != "" && got != tc.want || n != tc.count || len(got) > len(tc.in) {
				t.Fatalf("%q, chunks of %d: %d masked, got %q", tc.in, chunk, n, got)
			}
			for _, v := range tc.secrets {
				if strings.Contains(got, v) {
					t.Fatalf("%q: %q is left in %q", tc.in, v, got)
				}
			}
		}
	}
}

// T41: an event is passed on with the Write that ends it; only the possible
// beginning of a value waits.
func TestTrapT41HoldsBackOnlyWhatMayBeginAValue(t *testing.T) {
	s := mustSet(t, "sk-secret-value", "-----BEGIN KEY-----\n\nx")
	var out bytes.Buffer
	w := s.NewWriter(&out)
	passed := ""
	for _, step := range []struct{ write, out string }{
		{"data: a\n\n", "data: a\n\n"},
		{"data: sk\n\n", "data: sk\n\n"},
		{"data: sk", "data: "},
		{"i\n\n", "ski\n\n"},
		{"all!%", "all!"},
		{" ", "% "},
		{`C:\`, "C:"},
		{"!", `\!`},
		{"data: sk-sec", "data: "},
		{"ret-value", Marker},
		{"\n\n", "\n\n"},
		{"%7", ""},
		{"3", ""},
		{"x", "%73x"},
		{"-----BEGIN KEY-----\n\n", ""},
		{"y", "-----BEGIN KEY-----\n\ny"},
	} {
		if _, err := io.WriteString(w, step.write); err != nil {
			t.Fatal(err)
		}
		passed += step.out
		if out.String() != passed {
			t.Fatalf("after %q: got %q, want %q", step.write, out.String(), passed)
		}
	}
	io.WriteString(w, "sk-")
	if err := w.Flush(); err != nil || out.String() != passed {
		t.Errorf("Flush lets the beginning of a value out: %q, %v", out.String(), err)
	}
	if err := w.Close(); err != nil || out.String() != passed+"sk-" {
		t.Errorf("Close gives %q, %v", out.String(), err)
	}
	if _, err := io.WriteString(w, "x"); err == nil {
		t.Error("writes after the end")
	}
}

func TestFlushReachesTheDestination(t *testing.T) {
	dst := &flusher{}
	w := mustSet(t, "sk-secret-value").NewWriter(dst)
	if err := w.Flush(); err != nil || dst.flushed != 1 {
		t.Error(err, dst.flushed)
	}
}

type flusher struct {
	bytes.Buffer
	flushed int
}

func (f *flusher) Flush() error { f.flushed++; return nil }

func TestErrorsOfTheDestinationAreReported(t *testing.T) {
	broken := errors.New("broken")
	w := mustSet(t, "sk-secret-value").NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := io.WriteString(w, "hello"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	w = mustSet(t, "sk-secret-value").NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	io.WriteString(w, "sk-")
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestLengthsAreBounded(t *testing.T) {
	for _, n := range []int{0, MinSecret - 1, MaxSecret + 1} {
		if _, err := New(make([]byte, n)); err != ErrLength {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	long := strings.Repeat("0123456789abcdef", MaxSecret/16)
	s := mustSet(t, long)
	for name, form := range forms(long) {
		if got, n := masked(t, s, "<"+form+">", 1000); n != 1 || len(got) > len(Marker)+10 {
			t.Errorf("%s of a long value: %d masked, %d left", name, n, len(got))
		}
	}
	if got, n := masked(t, mustSet(t), "anything % \\", 1); n != 0 || got != "anything % \\" {
		t.Errorf("an empty set masks: %q", got)
	}
}

// Invariant 10: a set does not print its secrets, and forgets them.
func TestSetIsSilent(t *testing.T) {
	s := mustSet(t, "sk-secret-value")
	if got := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(got, "115") || got != "mask.Set mask.Set mask.Set mask.Set" {
		t.Errorf("prints %s", got)
	}
	s.Wipe()
	for _, tr := range []*trie{&s.text, &s.hexes} {
		for _, n := range tr.nodes {
			if n != (node{}) {
				t.Fatal("a node is left")
			}
		}
	}
}

// One set serves many streams at once; the race detector watches.
func TestConcurrentStreams(t *testing.T) {
	s := mustSet(t, secret)
	in := strings.Repeat("filler ", 100) + secret + url.QueryEscape(secret)
	done := make(chan bool)
	for range 8 {
		go func() {
			var out bytes.Buffer
			w := s.NewWriter(&out)
			_, err := io.Copy(w, iotest.OneByteReader(strings.NewReader(in)))
			done <- err == nil && w.Close() == nil && w.Count() == 2
		}()
	}
	for range 8 {
		if !<-done {
			t.Error("a stream went wrong")
		}
	}
}

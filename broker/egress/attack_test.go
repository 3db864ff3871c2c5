package egress

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/wire"
)

// stalled gives what it has and then nothing until it is released.
type stalled struct {
	have    io.Reader
	waiting chan<- struct{}
	release <-chan struct{}
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, err := s.have.Read(p); n > 0 || err != io.EOF {
		return n, err
	}
	s.waiting <- struct{}{}
	<-s.release
	return 0, io.ErrUnexpectedEOF
}

// T18, T43: bodies that are declared, or begun, and do not come take no memory
// but their own: they cannot use up the room in which other requests are judged.
func TestAttackSlowBodiesDoNotTakeTheRoomOfOthers(t *testing.T) {
	for name, length := range map[string]int64{"declared large": broker.SpoolLimit, "declared small": 20, "chunked": wire.Chunked} {
		t.Run(name, func(t *testing.T) {
			s := &Server{}
			waiting, release := make(chan struct{}), make(chan struct{})
			var slow sync.WaitGroup
			for range 200 {
				x := &exchange{server: s, req: &wire.Request{Length: length, Body: io.NopCloser(&stalled{bytes.NewReader([]byte("{")), waiting, release})}}
				slow.Go(func() {
					if _, err := x.spool(broker.SpoolLimit); err == nil {
						t.Error("a body that broke off was taken for whole")
					}
					x.unspool()
				})
				<-waiting
			}
			quick := &exchange{server: s, req: &wire.Request{Length: 2, Body: io.NopCloser(bytes.NewReader([]byte("{}")))}}
			if b, err := quick.spool(broker.SpoolLimit); err != nil || string(b) != "{}" {
				t.Errorf("behind 200 slow bodies: %q %v", b, err)
			}
			quick.unspool()
			close(release)
			slow.Wait()
			if left := s.spool.used; left != 0 {
				t.Errorf("%d bytes of the quota are not given back", left)
			}
		})
	}
}

// T18: what was read of a body that is too large is held for the carrier, and
// counts as long as it is held.
func TestAttackLargeBodiesCountWhileTheyAreHeld(t *testing.T) {
	s := &Server{}
	endless := io.NopCloser(io.LimitReader(zeros{}, 3*broker.SpoolLimit))
	x := &exchange{server: s, req: &wire.Request{Length: wire.Chunked, Body: endless}}
	if _, err := x.spool(broker.SpoolLimit); !errors.Is(err, errSpool) {
		t.Fatalf("got %v", err)
	}
	body, _ := x.body()
	if n, err := io.Copy(io.Discard, body); n != 3*broker.SpoolLimit || err != nil {
		t.Errorf("the carrier gets %d bytes, %v", n, err)
	}
	if used := s.spool.used; used < broker.SpoolLimit {
		t.Errorf("%d bytes count, and %d are held", used, broker.SpoolLimit)
	}
	x.unspool()
	if left := s.spool.used; left != 0 {
		t.Errorf("%d bytes of the quota are not given back", left)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// T24: other spellings of the place of the secret, which some server takes for
// the same place, are replaced like it.
func TestAttackOtherSpellingsOfThePlacement(t *testing.T) {
	for _, test := range []struct{ target, want string }{
		{"/x?API_KEY=mine&a=1", "/x?a=1&api_key=s3cret-value"},
		{"/x?a=1&api%5fkey=mine&Api_Key=mine", "/x?a=1&api_key=s3cret-value"},
		{"/x?%20api_key=mine", "/x?api_key=s3cret-value"},
		{"/x?api.key=mine&api+key=mine&a.b=1", "/x?a.b=1&api_key=s3cret-value"},
		{"/x?api_key[]=mine&api_key%5B0%5D=mine", "/x?api_key=s3cret-value"},
	} {
		var h wire.Header
		got, err := attach(writ.Placement{In: writ.InQuery, Name: "api_key"}, []byte("s3cret-value"), test.target, &h)
		if err != nil || got != test.want {
			t.Errorf("%s: %s %v, want %s", test.target, got, err, test.want)
		}
	}
	for _, cookie := range []string{"sid =mine; a=1", "SID=mine; a=1", "a=1; sid", "a=1;\tsid\t=mine"} {
		h := wire.Header{{Name: "Cookie", Value: cookie}}
		if _, err := attach(writ.Placement{In: writ.InCookie, Name: "sid"}, []byte("s3cret-value"), "/", &h); err != nil || h.Get("Cookie") != "sid=s3cret-value; a=1" {
			t.Errorf("%q became %q, %v", cookie, h.Get("Cookie"), err)
		}
	}
	// An open quote of the client's must not swallow what stands behind it.
	h := wire.Header{{Name: "Cookie", Value: `a="x`}}
	if _, err := attach(writ.Placement{In: writ.InCookie, Name: "sid"}, []byte("s3cret-value"), "/", &h); err != nil || h.Get("Cookie") != `sid=s3cret-value; a="x` {
		t.Errorf("became %q, %v", h.Get("Cookie"), err)
	}
}

// T13: parameters that some framework takes for another method, in every
// spelling that it takes for the same name.
func TestAttackMethodParameters(t *testing.T) {
	for _, query := range []string{"_method=DELETE", "_METHOD=DELETE", "a=1&%5fmethod=DELETE", "%20_method=DELETE", ".method=DELETE", "+.method=x", "_method[]=DELETE", "x-http-method-override=DELETE", "X_HTTP_Method=PUT", "$httpMethod=DELETE"} {
		target, err := writ.ParseTarget("/v1/x?"+query, writ.Profile{})
		if err != nil {
			continue // refused before
		}
		if !hasMethodParam(target.Query) {
			t.Errorf("%s is not seen", query)
		}
	}
	for _, query := range []string{"method=DELETE", "payment_method=card", "http=method"} {
		target, err := writ.ParseTarget("/v1/x?"+query, writ.Profile{})
		if err != nil || hasMethodParam(target.Query) {
			t.Errorf("%s is an ordinary parameter: %v", query, err)
		}
	}
}

// What a relay says of a process goes into the ledger, whose readers know
// integers below 2^53 and texts that are safe to show.
func TestAttackRuntimeContext(t *testing.T) {
	encode := func(said string) string { return base64.RawURLEncoding.EncodeToString([]byte(said)) }
	digest := strings.Repeat("0f", 32)
	for name, said := range map[string]string{
		"a number no reader knows": `{"pid":9223372036854775807}`,
		"a negative process":       `{"pid":-1}`,
		"a hash that is none":      `{"exe_sha256":"\u001b[2J"}`,
		"two objects":              `{"pid":1}{"pid":2}`,
	} {
		if r, err := parseRuntime(encode(said)); err == nil {
			t.Errorf("%s was taken: %+v", name, r)
		}
	}
	r, err := parseRuntime(encode(`{"pid":7,"exe":"/usr/bin/curl","exe_sha256":"` + digest + `","argv0":"curl","cwd":"/home/ana","git_dirty":true,"tty":"pts/1"}`))
	if err != nil || r.PID != 7 || r.Program != "/usr/bin/curl" || r.Executable != digest || !r.GitDirty || r.Directory != "/home/ana" {
		t.Errorf("%+v %v", r, err)
	}
}

package signin_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/signin"
)

// directory is a Directory in two maps.
type directory struct {
	keys     map[[32]byte]*writ.Key
	sessions map[[32]byte]*writ.Session
	who      map[writ.ID]*writ.Identity
	err      error
}

func (d *directory) Key(_ context.Context, h [32]byte) (*writ.Key, *writ.Identity, error) {
	if k, ok := d.keys[h]; ok && d.err == nil {
		return k, d.who[k.Identity], nil
	}
	return nil, nil, cmpErr(d.err)
}

func (d *directory) Session(_ context.Context, h [32]byte) (*writ.Session, *writ.Identity, error) {
	if s, ok := d.sessions[h]; ok && d.err == nil {
		return s, d.who[s.Identity], nil
	}
	return nil, nil, cmpErr(d.err)
}

func cmpErr(err error) error {
	if err == nil {
		return writ.Errorf(writ.KindUnauthenticated, "unknown")
	}
	return err
}

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// world is a Gate over one person with one key and one session.
type world struct {
	*directory
	gate    *signin.Gate
	now     time.Time
	ana     *writ.Identity
	key     *writ.Key
	session *writ.Session
	text    string // of the key
	token   string // of the session
	below   bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	org := writ.NewID(writ.KindOrg)
	w := &world{now: start}
	w.ana = &writ.Identity{ID: writ.NewID(writ.KindIdentity), Org: org, Kind: writ.Person, Name: "ana@acme.dev", State: writ.Active}
	var kh, sh [32]byte
	w.text, kh = signin.NewKey()
	w.token, sh = signin.NewSessionToken()
	w.key = &writ.Key{ID: writ.NewID(writ.KindKey), Org: org, Identity: w.ana.ID, Role: writ.RoleAdmin, State: writ.Active, Created: writ.At(start), Expires: writ.At(start.Add(time.Hour))}
	w.session = &writ.Session{ID: writ.NewID(writ.KindSession), Org: org, Identity: w.ana.ID, State: writ.Active, Created: writ.At(start), Expires: writ.At(start.Add(time.Hour))}
	w.directory = &directory{
		keys:     map[[32]byte]*writ.Key{kh: w.key},
		sessions: map[[32]byte]*writ.Session{sh: w.session},
		who:      map[writ.ID]*writ.Identity{w.ana.ID: w.ana},
	}
	w.gate = signin.New(signin.Config{Directory: w, Clock: func() time.Time { return w.now }, BelowRun: func(_, _ netip.AddrPort) bool { return w.below }})
	return w
}

func (w *world) enter(header string) (*signin.Caller, error) {
	return w.enterFrom(header, "192.0.2.7:40000")
}

func (w *world) enterFrom(header, from string) (*signin.Caller, error) {
	return w.gate.Enter(context.Background(), signin.Attempt{Authorization: header, Client: netip.MustParseAddrPort(from)})
}

func TestValidTokensEnter(t *testing.T) {
	w := newWorld(t)
	c, err := w.enter("Bearer " + w.text)
	if err != nil || c.Role != writ.RoleAdmin || c.Identity != w.ana || c.Via() != w.key.ID || c.Org != w.key.Org {
		t.Fatalf("key: %+v, %v", c, err)
	}
	c, err = w.enter("bearer " + w.token)
	if err != nil || c.Role != "" || c.Session != w.session || c.Via() != w.session.ID {
		t.Fatalf("session: %+v, %v", c, err)
	}
}

// T3: what is not live now does not enter, whatever it was before.
func TestNothingEntersThatIsNotLive(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"revoked":            func(w *world) { w.key.State, w.session.State = writ.Revoked, writ.Ended },
		"expired to the ms":  func(w *world) { w.now = start.Add(time.Hour) },
		"identity suspended": func(w *world) { w.ana.State = writ.Suspended },
		"identity expired":   func(w *world) { w.ana.Expires = writ.At(start) },
		"cut off afterwards": func(w *world) { w.ana.Cutoff = writ.At(start) + 1 },
		"forgotten":          func(w *world) { clear(w.keys); clear(w.sessions) },
		"unknown state":      func(w *world) { w.key.State, w.session.State = "odd", "odd" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spoil(w)
			for _, text := range []string{w.text, w.token} {
				c, err := w.enter("Bearer " + text)
				if c != nil || writ.KindOf(err) != writ.KindUnauthenticated {
					t.Fatalf("entered: %+v, %v", c, err)
				}
			}
		})
	}
}

func TestTheDirectoryFailingIsNotAnUnknownToken(t *testing.T) {
	w := newWorld(t)
	w.err = writ.Errorf(writ.KindUnavailable, "stale")
	for range 100 { // nor does it count against the address
		if _, err := w.enter("Bearer " + w.text); writ.KindOf(err) != writ.KindUnavailable {
			t.Fatalf("got %v", err)
		}
	}
}

func TestTyposAreToldFromUnknownTokens(t *testing.T) {
	w := newWorld(t)
	swapped := []byte(w.text)
	i := len(signin.KeyPrefix) + 3
	swapped[i] = 'z' - (swapped[i]-'0')%5 // another letter of the alphabet, v to z
	if string(swapped) == w.text {
		swapped[i] = 'a'
	}
	other, _ := signin.NewKey()
	for header, want := range map[string]string{
		"":                               "no token was sent",
		"Basic YTpi":                     "not of the kind Bearer",
		"Bearer ":                        "not a Writ token",
		"Bearer ghp_abcdef":              "not a Writ token",
		"Bearer " + w.text[:40]:          "cut short",
		"Bearer " + w.text + "\n":        "too long",
		"Bearer " + string(swapped):      "typing error",
		"Bearer " + other:                "not known",
		"Bearer " + signin.SessionPrefix: "cut short",
		// A key's text under the other prefix is no session: the checksum covers it.
		"Bearer " + signin.SessionPrefix + strings.TrimPrefix(w.text, signin.KeyPrefix): "typing error",
	} {
		_, err := w.enterFrom(header, fmt.Sprintf("10.0.0.%d:1", len(header)%250))
		if writ.KindOf(err) != writ.KindUnauthenticated || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", header, err, want)
		}
		if header != "" && err != nil && len(header) > 20 && strings.Contains(fmt.Sprintf("%+v", err), header[16:]) {
			t.Errorf("the error repeats the token")
		}
	}
}

func TestFailuresAreThrottledAndOthersAreNot(t *testing.T) {
	w := newWorld(t)
	bad, _ := signin.NewKey()
	var limited *signin.Limited
	n := 0
	for ; n < 1000; n++ {
		if _, err := w.enter("Bearer " + bad); errors.As(err, &limited) {
			break
		}
	}
	if n != signin.DefaultFailures.Burst || limited == nil || limited.Wait != 3 || writ.KindOf(limited) != writ.KindLimited {
		t.Fatalf("limited after %d: %+v", n, limited)
	}
	if _, err := w.enter("Bearer " + w.text); err != nil {
		t.Fatalf("a valid token from the same address is held up: %v", err)
	}
	if _, err := w.enterFrom("Bearer "+bad, "192.0.2.8:1"); errors.As(err, &limited) {
		t.Fatal("another address is held up")
	}
	w.now = w.now.Add(3 * time.Second)
	if _, err := w.enter("Bearer " + bad); errors.As(err, &limited) {
		t.Fatal("still limited after the wait it named")
	}
	if _, err := w.enter("Bearer " + bad); !errors.As(err, &limited) {
		t.Fatal("one wait paid for two attempts")
	}
}

func TestAnIPv6NetworkIsOneSource(t *testing.T) {
	w := newWorld(t)
	bad, _ := signin.NewKey()
	var limited *signin.Limited
	for i := range signin.DefaultFailures.Burst + 1 {
		_, err := w.enterFrom("Bearer "+bad, fmt.Sprintf("[2001:db8:1:2::%x]:1", i+1))
		if last := i == signin.DefaultFailures.Burst; errors.As(err, &limited) != last {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

func TestRequestsOfOneTokenAreThrottled(t *testing.T) {
	w := newWorld(t)
	var limited *signin.Limited
	for i := range signin.DefaultRequests.Burst {
		if _, err := w.enter("Bearer " + w.text); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if _, err := w.enter("Bearer " + w.text); !errors.As(err, &limited) || limited.Wait != 1 {
		t.Fatalf("not limited: %v", err)
	}
	if _, err := w.enter("Bearer " + w.token); err != nil {
		t.Fatalf("another token is held up: %v", err)
	}
}

// A process below a live run holds no key of its own; invariant 11.
func TestAKeyFromBelowARunIsRefused(t *testing.T) {
	w := newWorld(t)
	w.below = true
	if _, err := w.enter("Bearer " + w.text); writ.KindOf(err) != writ.KindForbidden {
		t.Fatalf("got %v", err)
	}
	if _, err := w.enter("Bearer " + w.token); err != nil {
		t.Fatalf("the session's own token: %v", err)
	}
}

package signin

import (
	"context"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"

	"writ.dev/writ"
)

// Directory finds tokens by their hashes in the live view of authority. What
// it gives is proven (invariant 12) and shared: it is never changed. A hash that
// it does not know, or does not vouch for, is writ.KindUnauthenticated.
type Directory interface {
	// Key gives the key and the identity that it is for.
	Key(ctx context.Context, hash [32]byte) (*writ.Key, *writ.Identity, error)
	// Session gives the session and the identity that acts in it. It vouches
	// for what the session rests on: the sessions it derives from and whoever
	// started it.
	Session(ctx context.Context, hash [32]byte) (*writ.Session, *writ.Identity, error)
}

// Config is what a Gate is made of.
type Config struct {
	Directory Directory
	Clock     func() time.Time
	// BelowRun reports whether the client of a connection is a process below a
	// live `writ run` child, where the operating system tells. Such a process
	// may not administer the server that watches it. Nil: nobody can tell.
	BelowRun func(client, server netip.AddrPort) bool
	// Failures bounds failed attempts of one source address, Requests the
	// requests with one token. Zero values take the defaults.
	Failures Rate
	Requests Rate
}

// Defaults of the two rates. They stop loops, not guessing: nobody guesses 256
// bits at any rate.
var (
	DefaultFailures = Rate{Burst: 20, Every: 3 * time.Second}
	DefaultRequests = Rate{Burst: 400, Every: 10 * time.Millisecond}
)

// Bounds of the tables of what was counted.
const (
	maxSources = 10_000
	maxTokens  = 20_000
)

// Gate lets callers of the API in. It is safe for concurrent use.
type Gate struct {
	Config
	failures *buckets[netip.Addr]
	requests *buckets[writ.Ref]
}

// New makes a Gate.
func New(c Config) *Gate {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Failures == (Rate{}) {
		c.Failures = DefaultFailures
	}
	if c.Requests == (Rate{}) {
		c.Requests = DefaultRequests
	}
	return &Gate{Config: c, failures: newBuckets[netip.Addr](c.Failures, maxSources), requests: newBuckets[writ.Ref](c.Requests, maxTokens)}
}

// Caller is who a request comes from.
type Caller struct {
	Org      writ.ID
	Identity *writ.Identity
	Role     writ.Role     // of a key; "" for a session
	Key      *writ.Key     // nil for a session
	Session  *writ.Session // nil for a key
}

// Via is the key or session that the caller came through.
func (c *Caller) Via() writ.ID {
	if c.Session != nil {
		return c.Session.ID
	}
	return c.Key.ID
}

// Actor is the caller as the ledger names her.
func (c *Caller) Actor() writ.Actor { return writ.Actor{Identity: c.Identity.ID, Via: c.Via()} }

// Expires is when the token ends.
func (c *Caller) Expires() writ.Time {
	if c.Session != nil {
		return c.Session.Expires
	}
	return c.Key.Expires
}

// Limited says that a caller has to wait.
type Limited struct {
	Wait int // seconds, for Retry-After
	err  *writ.Error
}

// Error is safe to show.
func (l *Limited) Error() string { return l.err.Error() }

// Unwrap gives the error with its kind.
func (l *Limited) Unwrap() error { return l.err }

// Attempt is what a request shows of itself.
type Attempt struct {
	Authorization string         // the header, as it came
	Client        netip.AddrPort // the connection's two ends
	Server        netip.AddrPort
}

// Enter finds out who a request comes from.
//
// A valid token is never held up by the failures of others behind the same
// address: the token is looked up first, which costs one hash, and only a
// failure is counted against the address.
func (g *Gate) Enter(ctx context.Context, a Attempt) (*Caller, error) {
	now := g.Clock()
	c, err := g.find(ctx, a.Authorization, writ.At(now))
	if err != nil {
		if writ.KindOf(err) != writ.KindUnauthenticated {
			return nil, err
		}
		if wait, ok := g.failures.take(source(a.Client.Addr()), now); !ok {
			return nil, limited(wait, "too many failed attempts from this address")
		}
		return nil, err
	}
	if wait, ok := g.requests.take(writ.Ref{Org: c.Org, ID: c.Via()}, now); !ok {
		return nil, limited(wait, "too many requests with this token")
	}
	// A session's token stays with `writ run` and does not reach what runs below
	// it; a key that does was taken from somewhere.
	if c.Key != nil && g.BelowRun != nil && g.BelowRun(a.Client, a.Server) {
		return nil, writ.Errorf(writ.KindForbidden, "a program that runs below writ run may not administer Writ").
			WithWhy("the connection belongs to a process below a live session").
			WithFix("run the command in a terminal of your own")
	}
	return c, nil
}

// Again reports whether a caller who entered before may still act. Streams that
// outlive their request ask it once they can be found by a revocation.
func (g *Gate) Again(ctx context.Context, c *Caller) error {
	now, text := writ.At(g.Clock()), ""
	if c.Session != nil {
		text = c.Session.Hash
	} else {
		text = c.Key.Hash
	}
	hash, err := hex.DecodeString(text)
	if err != nil || len(hash) != 32 {
		return unauthenticated("the token is not known", "sign in again")
	}
	if c.Session != nil {
		_, err = g.session(ctx, [32]byte(hash), now)
	} else {
		_, err = g.key(ctx, [32]byte(hash), now)
	}
	return err
}

func limited(wait time.Duration, message string) error {
	n := seconds(wait)
	return &Limited{Wait: n, err: writ.Errorf(writ.KindLimited, "%s", message).WithFix("wait %d s and try again", n)}
}

// find resolves the Authorization header (RFC 6750, section 2.1).
func (g *Gate) find(ctx context.Context, header string, now writ.Time) (*Caller, error) {
	scheme, text, _ := strings.Cut(header, " ")
	if header == "" {
		return nil, unauthenticated("no token was sent", "send Authorization: Bearer with an API key; on a server started with --dev the command line finds it by itself")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, unauthenticated("the authorization is not of the kind Bearer", "send Authorization: Bearer with an API key")
	}
	text = strings.TrimLeft(text, " ")
	kind, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if kind == SessionToken {
		return g.session(ctx, Hash(text), now)
	}
	return g.key(ctx, Hash(text), now)
}

func unknown(err error) bool { return err != nil && writ.KindOf(err) == writ.KindUnauthenticated }

func (g *Gate) key(ctx context.Context, hash [32]byte, now writ.Time) (*Caller, error) {
	const fix = "ask an admin for a new key: writ key add"
	k, who, err := g.Directory.Key(ctx, hash)
	switch {
	case unknown(err):
		return nil, unauthenticated("the key is not known, or has ended", fix)
	case err != nil:
		return nil, err
	case !k.Live(now, who.Cutoff):
		return nil, unauthenticated("the key has ended", fix).WithWhy("%s", keyEnd(k, now))
	case !who.Live(now):
		return nil, unauthenticated("the identity of this key is not active", "ask an admin: writ identity get "+who.Label())
	}
	return &Caller{Org: k.Org, Identity: who, Role: k.Role, Key: k}, nil
}

// keyEnd says what ended a key that is not live.
func keyEnd(k *writ.Key, now writ.Time) string {
	switch {
	case k.State != writ.Active:
		return "it was revoked"
	case k.Expires.Passed(now):
		return "it expired at " + k.Expires.String()
	}
	return "its identity was cut off after it was made"
}

func (g *Gate) session(ctx context.Context, hash [32]byte, now writ.Time) (*Caller, error) {
	const fix = "start a new one: writ run"
	s, who, err := g.Directory.Session(ctx, hash)
	switch {
	case unknown(err):
		return nil, unauthenticated("the session is not known, or has ended", fix)
	case err != nil:
		return nil, err
	case !s.Live(now) || s.Created < who.Cutoff:
		return nil, unauthenticated("the session has ended", fix)
	case !who.Live(now):
		return nil, unauthenticated("the identity of this session is not active", "ask an admin: writ identity get "+who.Label())
	}
	return &Caller{Org: s.Org, Identity: who, Session: s}, nil
}

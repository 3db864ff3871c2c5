package authority

import (
	"context"
	"encoding/hex"
	"sync"

	"writ.dev/writ"
)

var errUnknown = writ.Errorf(writ.KindUnauthenticated, "the token is not known")

// tokens finds what a token's hash stands for, in any organization that is
// loaded. A hash map keyed by SHA-256 of 256 random bits needs no constant-time
// comparison: how long a look-up takes tells about the hash of a guess, and
// nobody can choose guesses by their hash.
//
// What it gives is a hint: whoever uses it reads the noun from its
// organization's view and compares the hash, so an entry that outlived its noun
// leads nowhere.
type tokens struct {
	mu   sync.RWMutex
	refs map[[32]byte]writ.Ref // guarded by mu
}

// put enters a noun by its hash. One that is not proven takes nobody's place.
func (t *tokens) put(text string, ref writ.Ref, proven bool) {
	h, ok := hash(text)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refs == nil {
		t.refs = map[[32]byte]writ.Ref{}
	}
	if _, has := t.refs[h]; !has || proven {
		t.refs[h] = ref
	}
}

// drop takes a noun out again.
func (t *tokens) drop(text string, ref writ.Ref) {
	h, ok := hash(text)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refs[h] == ref {
		delete(t.refs, h)
	}
}

func (t *tokens) find(h [32]byte) (writ.Ref, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	ref, ok := t.refs[h]
	return ref, ok
}

func hash(text string) (h [32]byte, ok bool) {
	if len(text) != 2*len(h) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(text))
	return h, err == nil
}

func is(text string, h [32]byte) bool {
	got, ok := hash(text)
	return ok && got == h
}

// lookup finds what a token's hash stands for. judge reads it from its view,
// and says no to what may not act.
func lookup[T any](ctx context.Context, x *Index, kind writ.Kind, h [32]byte, judge func(*view, writ.ID) (T, bool)) (T, error) {
	var zero T
	ref, known := x.tokens.find(h)
	if !known {
		org, err := x.cfg.Locate(ctx, kind, h)
		if err != nil {
			if writ.KindOf(err) == writ.KindNotFound {
				return zero, errUnknown
			}
			return zero, err
		}
		ref.Org = org
	}
	if err := x.Ready(ctx, ref.Org); err != nil {
		return zero, err
	}
	if ref, known = x.tokens.find(h); !known || !ref.ID.Is(kind) {
		return zero, errUnknown
	}
	s := x.slot(ref.Org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view == nil { // it went stale again
		return zero, errStale
	}
	if t, ok := judge(s.view, ref.ID); ok {
		return t, nil
	}
	return zero, errUnknown
}

type keyed struct {
	key *writ.Key
	who *writ.Identity
}

// Key gives the API key with this hash and the identity it is for, both proven
// and live; anything else is writ.KindUnauthenticated.
func (x *Index) Key(ctx context.Context, h [32]byte) (*writ.Key, *writ.Identity, error) {
	now := writ.At(x.cfg.Clock())
	k, err := lookup(ctx, x, writ.KindKey, h, func(v *view, id writ.ID) (keyed, bool) {
		key, ok := value[*writ.Key](v, id)
		if !ok || !is(key.Hash, h) || v.unproven[key.ID] {
			return keyed{}, false
		}
		who, ok := value[*writ.Identity](v, key.Identity)
		if !ok || v.unproven[who.ID] || !who.Live(now) || !key.Live(now, who.Cutoff) {
			return keyed{}, false
		}
		return keyed{key, who}, true
	})
	return k.key, k.who, err
}

type started struct {
	session *writ.Session
	who     *writ.Identity
}

// Session gives the session with this token hash and the identity that acts in
// it. It vouches for what the session rests on: its ancestors and whoever
// started any of them are proven, live, and were not cut off since.
func (x *Index) Session(ctx context.Context, h [32]byte) (*writ.Session, *writ.Identity, error) {
	now := writ.At(x.cfg.Clock())
	s, err := lookup(ctx, x, writ.KindSession, h, func(v *view, id writ.ID) (started, bool) {
		session, ok := value[*writ.Session](v, id)
		if !ok || !is(session.Hash, h) {
			return started{}, false
		}
		at := session
		for range maxChain {
			if v.unproven[at.ID] || !at.Live(now) || !v.stands(at.Identity, at, now) || !v.stands(at.Started, at, now) {
				return started{}, false
			}
			if at.Parent == "" {
				who, ok := value[*writ.Identity](v, session.Identity)
				return started{session, who}, ok
			}
			if at, ok = value[*writ.Session](v, at.Parent); !ok {
				return started{}, false
			}
		}
		return started{}, false
	})
	return s.session, s.who, err
}

// stands reports whether somebody a session acts for may still act in it.
func (v *view) stands(id writ.ID, s *writ.Session, now writ.Time) bool {
	i, ok := value[*writ.Identity](v, id)
	return ok && !v.unproven[id] && i.Live(now) && s.Created >= i.Cutoff
}

// Application gives the application that declares a canonical host, when it is
// active and proven.
func (x *Index) Application(ctx context.Context, org writ.ID, host string) (*writ.Application, bool) {
	if x.Ready(ctx, org) != nil {
		return nil, false
	}
	s := x.slot(org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view == nil {
		return nil, false
	}
	a, ok := s.view.app(s.view.apps[host])
	return a, ok && a.State == writ.Active && !s.view.unproven[a.ID]
}

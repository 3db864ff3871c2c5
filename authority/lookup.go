package authority

import (
	"context"

	"writ.dev/writ"
)

var errUnknown = writ.Errorf(writ.KindUnauthenticated, "the token is not known")

// lookup finds what a token's hash stands for. A hash map keyed by SHA-256 of
// 256 random bits needs no constant-time comparison: how long a look-up takes
// tells about the hash of a guess, and nobody can choose guesses by their hash.
func lookup[T any](ctx context.Context, x *Index, kind writ.Kind, h [32]byte, find func(*view) (T, bool)) (T, error) {
	var zero T
	// The organizations that are loaded first: there are few, and it is memory.
	x.mu.RLock()
	slots := make([]*slot, 0, len(x.orgs))
	for _, s := range x.orgs {
		slots = append(slots, s)
	}
	x.mu.RUnlock()
	for _, s := range slots {
		s.mu.RLock()
		if s.view != nil {
			if t, ok := find(s.view); ok {
				s.mu.RUnlock()
				return t, nil
			}
		}
		s.mu.RUnlock()
	}
	org, err := x.cfg.Locate(ctx, kind, h)
	if writ.KindOf(err) == writ.KindNotFound && err != nil {
		return zero, errUnknown
	}
	if err != nil {
		return zero, err
	}
	if err := x.Ready(ctx, org); err != nil {
		return zero, err
	}
	s := x.slot(org)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.view != nil {
		if t, ok := find(s.view); ok {
			return t, nil
		}
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
	k, err := lookup(ctx, x, writ.KindKey, h, func(v *view) (keyed, bool) {
		key, ok := value[*writ.Key](v, v.keys[h])
		if !ok || v.unproven[key.ID] {
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
	s, err := lookup(ctx, x, writ.KindSession, h, func(v *view) (started, bool) {
		session, ok := value[*writ.Session](v, v.sessions[h])
		if !ok {
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

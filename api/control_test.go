package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/client"
	"writ.dev/writ/client/run"
	"writ.dev/writ/ledger"
)

// ended waits for the commit that ends a session.
func (w *world) ended(id writ.ID) *writ.Session {
	w.t.Helper()
	for {
		select {
		case c := <-w.commits:
			for _, n := range c.Nouns {
				if s, ok := n.Value.(*writ.Session); ok && s.ID == id && s.State == writ.Ended {
					return s
				}
			}
		case <-time.After(20 * time.Second):
			w.t.Fatal("the session did not end")
		}
	}
}

func (w *world) runServer(token string) run.Server {
	u, err := url.Parse(w.http.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	return run.Server{Addr: u.Host, Token: func(context.Context) (string, error) { return token, nil }}
}

// TestAKillEndsTheProgramAndIsAcknowledged goes through the run's own end of
// the control stream.
func TestAKillEndsTheProgramAndIsAcknowledged(t *testing.T) {
	for name, gone := range map[string]bool{"acknowledged": true, "not all gone": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.session(true)
			c, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			served := make(chan error, 1)
			go func() {
				served <- c.Serve(t.Context(), func(context.Context) run.Ended { return run.Ended{AllGone: gone, Left: 1} })
			}()
			r, err := w.admin().Kill(t.Context(), client.NewKill{Target: string(s.Session.ID), Because: client.Because{Reason: "looped"}})
			if err != nil {
				t.Fatal(err)
			}
			want := client.Count{Found: 1}
			if gone {
				want.Down = 1
			}
			if r.Children != want || r.Sessions != 1 {
				t.Errorf("counts: %+v", r)
			}
			var told *writ.Error
			if err := <-served; !errors.As(err, &told) || told.Why != "end session by ana@acme.dev: looped" {
				t.Errorf("the person is told %+v", told)
			}
		})
	}
}

// TestAProgramThatExitsEndsItsSession and leaves nothing to be cut.
func TestAProgramThatExitsEndsItsSession(t *testing.T) {
	w := newWorld(t)
	s := w.session(true)
	c, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exited(run.Ended{Code: 3, AllGone: true}); err != nil {
		t.Fatal(err)
	}
	w.ended(s.Session.ID)
	seq, err := w.Store.EntryOf(t.Context(), w.Org, s.Session.ID)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.Store.Entry(t.Context(), w.Org, seq)
	if err != nil {
		t.Fatal(err)
	}
	if change, err := ledger.DecodeChange(e); err != nil || change.Cause != causeExited {
		t.Errorf("%+v %v", change, err)
	}
}

// TestALostControlStreamEndsTheSession: whatever way it is lost.
func TestALostControlStreamEndsTheSession(t *testing.T) {
	w := newWorld(t)
	s := w.session(true)
	c, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID))
	if err != nil {
		t.Fatal(err)
	}
	// A second stream for the session is refused and disturbs nothing.
	if _, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID)); err == nil {
		t.Error("two streams for one session")
	}
	if _, err := w.as(s.Token).Whoami(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	w.ended(s.Session.ID)
	if _, err := w.as(s.Token).Whoami(t.Context()); writ.KindOf(err) != writ.KindUnauthenticated {
		t.Errorf("the token still works: %v", err)
	}
}

func TestStoppingTheServerEndsAttachedSessions(t *testing.T) {
	w := newWorld(t)
	s := w.session(true)
	c, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := w.server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.ended(s.Session.ID)
	if _, err := run.OpenControl(t.Context(), w.runServer(s.Token), string(s.Session.ID)); err == nil {
		t.Error("a stream was opened on a server that stops")
	}
}

func TestAttachedSessionsWithoutAStreamEndAtARestart(t *testing.T) {
	w := newWorld(t)
	lost := w.Session(w.Agent(), func(s *writ.Session) { s.Attached = true })
	kept := w.Session(w.Agent())
	if err := w.server.RecoverSessions(t.Context(), w.Org); err != nil {
		t.Fatal(err)
	}
	w.ended(lost.ID)
	if s, err := w.Store.Session(t.Context(), w.Org, string(kept.ID)); err != nil || s.State != writ.Active {
		t.Errorf("a session without a stream of its own: %+v %v", s, err)
	}
}

func TestAControlStreamIsForItsOwnSessionAlone(t *testing.T) {
	w := newWorld(t)
	mine, other := w.session(true), w.session(true)
	if _, err := run.OpenControl(t.Context(), w.runServer(mine.Token), string(other.Session.ID)); err == nil {
		t.Error("the stream of another session was opened")
	}
	free := w.session(false)
	if _, err := run.OpenControl(t.Context(), w.runServer(free.Token), string(free.Session.ID)); err == nil {
		t.Error("a stream for a session that is not attached")
	}
	resp, _ := w.call("GET", "/v1/sessions/"+string(mine.Session.ID)+"/control", mine.Token, "")
	if resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("without an upgrade: %d", resp.StatusCode)
	}
	// A session may end itself, and nobody else by its token.
	if _, err := w.as(mine.Token).EndSession(t.Context(), string(other.Session.ID), client.Because{}); writ.KindOf(err) != writ.KindNotFound {
		t.Errorf("ended another: %v", err)
	}
	if r, err := w.as(free.Token).EndSession(t.Context(), string(free.Session.ID), client.Because{Reason: "exit"}); err != nil || r.Sessions != 1 {
		t.Errorf("ending itself: %+v %v", r, err)
	}
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/internal/durable"
	"writ.dev/writ/signin"
	"writ.dev/writ/store"
)

const (
	// devTokenLife is how long the local development token lasts; every start of
	// the server makes a new one when it is near its end.
	devTokenLife = 90 * 24 * time.Hour
	// firstKeyLife is the life of the key that a server leaves on an empty
	// database: long enough to make a person's own.
	firstKeyLife = 24 * time.Hour
)

// vouched refuses a database that lacks an organization whose log has a
// checkpoint outside it. It comes before genesis: a database that was emptied
// would else begin anew, and nobody would notice what is gone.
func (s *server) vouched(ctx context.Context) error {
	logs, err := s.keys.anchor.logs()
	if err != nil {
		return err
	}
	for _, org := range logs {
		has, err := s.store.HasLog(ctx, org)
		if err != nil {
			return err
		}
		if !has {
			return writ.Errorf(writ.KindCheckFailed, "the database does not have the organization %s", org).
				WithWhy("its log has a checkpoint in %s", s.keys.anchor.folder).
				WithFix("put back the newest copy of the database; to give up that history and begin anew, move %s away", s.keys.anchor.folder)
		}
	}
	return nil
}

// genesis finds the first organization, and on an empty database makes it with
// its first person. Each step looks first, so that a crash between two of them
// is mended by the next start.
func (s *server) genesis(ctx context.Context) (*writ.Org, error) {
	org, err := s.store.Org(ctx, store.DefaultOrg)
	if writ.KindOf(err) == writ.KindNotFound && err != nil {
		org, _, err = s.store.CreateOrg(ctx, writ.Actor{}, store.DefaultOrg)
	}
	if err != nil {
		return nil, err
	}
	keys, _, err := s.store.Keys(ctx, org.ID, store.Query{Limit: 1, Final: true})
	if err != nil || (len(keys) > 0 && !s.cfg.dev) {
		return org, err
	}
	if len(keys) > 0 && s.devTokenWorks(ctx) {
		return org, nil
	}
	person, err := s.firstPerson(ctx, org.ID)
	if err != nil {
		return nil, err
	}
	return org, s.leaveKey(ctx, org.ID, person)
}

// firstPerson finds the oldest person who is live, or registers the one that
// was named.
func (s *server) firstPerson(ctx context.Context, org writ.ID) (*writ.Identity, error) {
	people, _, err := s.store.Identities(ctx, org, store.Query{Kind: writ.Person, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(people) > 0 {
		return people[0], nil
	}
	name := s.cfg.person
	if name == "" {
		name = "admin@writ.test"
	}
	person, _, err := s.store.AddIdentity(ctx, writ.Actor{}, writ.Identity{Kind: writ.Person, Name: name, Org: org})
	return person, err
}

// leaveKey makes an admin key for the person and leaves it in a file that only
// this user can read.
func (s *server) leaveKey(ctx context.Context, org writ.ID, person *writ.Identity) error {
	text, hash := signin.NewKey()
	key := writ.Key{
		Org: org, Identity: person.ID, Role: writ.RoleAdmin, Name: "first-" + strings.ToLower(rand.Text()[:12]),
		Hash: fmt.Sprintf("%x", hash), Expires: writ.At(time.Now().Add(firstKeyLife)),
	}
	if s.cfg.dev {
		key.Local, key.Expires = true, writ.At(time.Now().Add(devTokenLife))
	}
	// The file first: a key that nobody can read the text of would be of no use,
	// while a text without a key opens nothing.
	if err := durable.Replace(s.tokenFile(), []byte(text+"\n")); err != nil {
		return writ.Errorf(writ.KindUnavailable, "the first key cannot be written to %s", s.tokenFile()).WithFix("check that the folder can be written").WithCause(err)
	}
	_, _, err := s.store.AddKey(ctx, writ.Actor{}, key)
	return err
}

// tokenFile is where the key of a fresh start lies.
func (s *server) tokenFile() string {
	if s.cfg.dev {
		return s.cfg.Data + ".token"
	}
	return filepath.Join(s.cfg.Data, "first-admin.key")
}

func (s *server) devTokenWorks(ctx context.Context) bool {
	token, err := readToken(s.tokenFile())
	if err != nil {
		return false
	}
	key, _, err := s.index.Key(ctx, signin.Hash(string(token)))
	return err == nil && !key.Expires.Passed(writ.At(time.Now().Add(24*time.Hour)))
}

// devStatePath is where a development server says where it listens.
func (s *server) devStatePath() string { return s.cfg.Data + ".json" }

// greet says where the server listens and what its promises rest on, and for a
// development server leaves what this program's other commands look for.
func (s *server) greet(_ context.Context, talk io.Writer) error {
	scheme := "http"
	if s.cfg.API.Cert != "" {
		scheme = "https"
	}
	api, proxy := scheme+"://"+s.apiAt.Addr().String(), s.proxyAt.Addr().String()
	if !s.cfg.dev {
		_, err := fmt.Fprintf(talk, "writ %s  api %s  proxy %s  data %s\n", version, api, proxy, s.cfg.Data)
		return err
	}
	state, err := json.MarshalIndent(devFile{Addr: api, Proxy: proxy, TokenFile: s.tokenFile(), CAFingerprint: s.keys.root.Fingerprint(), PID: os.Getpid()}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(s.devStatePath(), append(state, '\n')); err != nil {
		return err
	}
	s.greeted = true
	_, err = fmt.Fprintf(talk, `writ %s  DEVELOPMENT SERVER  loopback only, not for production
  api    %s
  proxy  %s
  data   %s
  token  %s (administers, cannot approve)

  next   writ status
         writ run --as agent:NAME -- CMD

%s
`, version, api, proxy, s.cfg.Data, s.tokenFile(), strings.Join(s.about().Rests, "\n"))
	return err
}

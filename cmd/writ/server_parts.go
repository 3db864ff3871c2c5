package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"runtime"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/api"
	"writ.dev/writ/evidence"
	"writ.dev/writ/internal/localca"
	"writ.dev/writ/ledger"
	"writ.dev/writ/store"
)

// certifier mints the certificates that intercept declared hosts: one minter
// an organization, whose intermediates are constrained to the hosts that its
// applications declare now.
type certifier struct {
	root  *localca.Root
	store *store.Store

	mu      sync.Mutex
	minters map[writ.ID]*minter // guarded by mu
}

// minter is one organization's, and whether its hosts may have changed.
type minter struct {
	*localca.Minter
	mu    sync.Mutex // held while the hosts are read, so that they are read once
	stale bool       // guarded by certifier.mu
}

func newCertifier(root *localca.Root, s *store.Store) *certifier {
	return &certifier{root: root, store: s, minters: map[writ.ID]*minter{}}
}

// Apply notes that an organization's applications changed.
func (c *certifier) Apply(change ledger.Committed) {
	for _, n := range change.Nouns {
		if n.ID.Is(writ.KindApplication) {
			c.Stale(change.Org)
			return
		}
	}
}

// Stale notes that an organization's applications may have changed.
func (c *certifier) Stale(org writ.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.minters[org]; m != nil {
		m.stale = true
	}
}

// Certificate is the certificate for a host that the organization declares.
func (c *certifier) Certificate(ctx context.Context, org writ.ID, host string) (*tls.Certificate, error) {
	c.mu.Lock()
	m := c.minters[org]
	if m == nil {
		m = &minter{Minter: localca.NewMinter(c.root, time.Now), stale: true}
		c.minters[org] = m
	}
	c.mu.Unlock()
	if err := c.refresh(ctx, org, m); err != nil {
		return nil, err
	}
	name, _ := writ.SplitHost(host)
	return m.Leaf(name)
}

// refresh reads the hosts again when they may have changed. The mark is taken
// away before they are read: a change that comes meanwhile sets it anew.
func (c *certifier) refresh(ctx context.Context, org writ.ID, m *minter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.mu.Lock()
	stale := m.stale
	m.stale = false
	c.mu.Unlock()
	if !stale {
		return nil
	}
	hosts, err := c.hosts(ctx, org)
	if err == nil {
		err = m.SetHosts(hosts)
	}
	if err != nil {
		c.Stale(org)
	}
	return err
}

func (c *certifier) hosts(ctx context.Context, org writ.ID) ([]string, error) {
	var hosts []string
	for after := ""; ; {
		page, next, err := c.store.Applications(ctx, org, store.Query{State: writ.Active, After: after, Limit: 500})
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			hosts = append(hosts, a.Hosts...)
		}
		if next == "" {
			return hosts, nil
		}
		after = next
	}
}

// about is what the server says of itself.
func (s *server) about() api.About {
	a := api.About{
		Version: version, Mode: "server", Database: s.cfg.Database, Proxy: s.proxyAt.Addr().String(),
		Rests: []string{
			"That a program never holds a secret, and that no software approves, holds where the program cannot act as the operating-system user that runs this server or holds an approver's key.",
			"The ledger is tamper-evident against outsiders; against the operator only once a witness outside the operator's reach cosigns its checkpoints, and none does.",
		},
	}
	if s.cfg.Database != "sqlite" {
		a.Database = "postgres" // its URL may hold a password
	}
	if s.cfg.dev {
		a.Mode = "dev"
		a.Rests = append(a.Rests, "This is a development server: where the programs it brokers for run as the same user, these promises are cooperative. Its local token administers and cannot approve.")
	}
	if runtime.GOOS != "linux" {
		a.Warnings = append(a.Warnings, "on "+runtime.GOOS+" this process cannot be kept from being dumped by its user, and calls from below a writ run child cannot be told apart")
	}
	return a
}

// evidence makes the bundle of one use.
func (s *server) evidence(ctx context.Context, org, use writ.ID) ([]byte, error) {
	var b bytes.Buffer
	if err := evidence.Export(ctx, s.store, org, use, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

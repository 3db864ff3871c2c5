package store

import (
	"context"
	"slices"

	"writ.dev/writ"
)

// Cascades. Whatever a revocation ends, it ends in the same act: the rows, and
// the one entry that names them all. Nothing is left for a later sweep, so
// there is no moment at which a descendant outlives what it came from.

// under is the condition for the rows of a table that are among the seeds or
// come from them by parent, in any number of steps.
func under(table, seeds string) string {
	return "id IN (WITH RECURSIVE d (id) AS (" + seeds +
		// CROSS JOIN is a join in this order: SQLite would otherwise look at every
		// row that has a parent, for each step anew.
		" UNION SELECT c.id FROM d CROSS JOIN " + table + " c WHERE c.org = $1 AND c.parent = d.id) SELECT id FROM d)"
}

// UNION ALL among seeds, since sorting them would lead SQLite away from their
// indexes; the UNION that under adds drops what is there twice.
var (
	sessionsOf = "state = 'active' AND " + under("sessions",
		"SELECT id FROM sessions WHERE org = $1 AND identity = $2 AND state = 'active' UNION ALL SELECT id FROM sessions WHERE org = $1 AND started = $2 AND state = 'active'")
	sessionsFrom = "state = 'active' AND " + under("sessions", "SELECT id FROM sessions WHERE org = $1 AND id = $2")
	grantsTo     = "state <> 'revoked' AND " + under("grants", "SELECT id FROM grants WHERE org = $1 AND identity = $2 AND state <> 'revoked'")
	grantsFrom   = "state <> 'revoked' AND " + under("grants", "SELECT id FROM grants WHERE org = $1 AND id = $2")
	agentsUnder  = "state <> 'revoked' AND " + under("identities", "SELECT id FROM identities WHERE org = $1 AND parent = $2")
)

// end ends sessions, and withdraws the grants that end with a session of their
// identity. A grant names no session, so the first of its identity's sessions
// to end takes it along: of two readings this is the one that ends sooner.
func (w *work) end(ctx context.Context, sessions []*writ.Session) error {
	seen := map[writ.ID]bool{}
	var who []writ.ID
	for _, s := range sessions {
		if s.State.Final() {
			continue
		}
		s.State = writ.Ended
		w.put(s.ID, s)
		if !seen[s.Identity] {
			seen[s.Identity] = true
			who = append(who, s.Identity)
		}
	}
	return w.triggered(ctx, writ.OnSessionEnd, "identity", who...)
}

// triggered withdraws the grants that carry the trigger and whose column names
// one of ids.
func (w *work) triggered(ctx context.Context, t writ.Trigger, column string, ids ...writ.ID) error {
	return chunks(ids, func(ids []writ.ID) error {
		places, args := list(ids, 3)
		// The text is looked for first: hardly any grant has it, and reading them
		// all would cost more than the rest of the act.
		grants, err := all[writ.Grant](ctx, w, "state <> 'revoked' AND body LIKE $2 AND "+column+" IN ("+places+")", append([]any{`%"` + string(t) + `"%`}, args...)...)
		if err != nil {
			return err
		}
		for _, g := range grants {
			if !g.State.Final() && slices.Contains(g.Triggers, t) {
				if err := w.revokeGrants(ctx, grantsFrom, g.ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// revokeGrants revokes the grants of a condition.
func (w *work) revokeGrants(ctx context.Context, condition string, args ...any) error {
	grants, err := all[writ.Grant](ctx, w, condition, args...)
	if err != nil {
		return err
	}
	for _, g := range grants {
		if !g.State.Final() {
			g.State = writ.Revoked
			w.put(g.ID, g)
		}
	}
	return nil
}

// suspend suspends an identity: its sessions end, and those of the agents that
// belong to it, which cannot act without it.
func (w *work) suspend(ctx context.Context, i *writ.Identity) error {
	i.State, i.Cutoff = writ.Suspended, after(i.Cutoff, w.now)
	w.put(i.ID, i)
	if err := w.inactive(ctx, i.ID); err != nil {
		return err
	}
	agents, err := all[writ.Identity](ctx, w, agentsUnder, i.ID)
	if err != nil {
		return err
	}
	for _, a := range agents {
		if err := w.inactive(ctx, a.ID); err != nil {
			return err
		}
	}
	return nil
}

// inactive ends what an identity that may no longer act has running.
func (w *work) inactive(ctx context.Context, id writ.ID) error {
	sessions, err := all[writ.Session](ctx, w, sessionsOf, id)
	if err != nil {
		return err
	}
	if err := w.end(ctx, sessions); err != nil {
		return err
	}
	return w.triggered(ctx, writ.OnIdentityInactive, "identity", id)
}

// withdraw revokes an identity and all that is only there because of it:
// sessions that it runs or started, its keys, the grants to it, the agents that
// belong to it. What a person owns passes to a living backup, else is suspended
// (invariant 7).
func (w *work) withdraw(ctx context.Context, i *writ.Identity) error {
	agents, err := all[writ.Identity](ctx, w, agentsUnder, i.ID)
	if err != nil {
		return err
	}
	everyone := append([]*writ.Identity{i}, agents...)
	// First all of them, then what hangs on them: nothing may pass to somebody
	// who leaves in the same act.
	for _, who := range everyone {
		who.State, who.Cutoff = writ.Revoked, after(who.Cutoff, w.now)
		w.put(who.ID, who)
	}
	for _, who := range everyone {
		if err := w.inactive(ctx, who.ID); err != nil {
			return err
		}
		if err := w.revokeGrants(ctx, grantsTo, who.ID); err != nil {
			return err
		}
		keys, err := all[writ.Key](ctx, w, "identity = $2 AND state <> 'revoked'", who.ID)
		if err != nil {
			return err
		}
		for _, k := range keys {
			k.State = writ.Revoked
			w.put(k.ID, k)
		}
	}
	if i.Kind != writ.Person {
		return nil
	}
	if err := w.leaveIdentities(ctx, i.ID); err != nil {
		return err
	}
	return w.leaveCredentials(ctx, i.ID)
}

// leaveIdentities hands over the services and agents that a person owned.
func (w *work) leaveIdentities(ctx context.Context, person writ.ID) error {
	owned, err := all[writ.Identity](ctx, w, "owner = $2 AND state <> 'revoked'", person)
	if err != nil {
		return err
	}
	for _, o := range owned {
		if o.State.Final() || o.Owner != person {
			continue
		}
		if err := w.triggered(ctx, writ.OnOwnerLeaves, "identity", o.ID); err != nil {
			return err
		}
		successor, err := w.successor(ctx, o.Backup)
		if err != nil {
			return err
		}
		switch {
		case successor != "":
			o.Owner, o.Backup = successor, ""
			w.put(o.ID, o)
		case o.State == writ.Active:
			if err := w.suspend(ctx, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaveCredentials hands over the credentials that a person owned. A credential
// whose triggers name owner-leaves is treated alike: with a successor somebody
// answers for it, and without one it is suspended, which is its withdrawal.
// Grants of it that name the trigger are withdrawn.
func (w *work) leaveCredentials(ctx context.Context, person writ.ID) error {
	owned, err := all[writ.Credential](ctx, w, "owner = $2 AND state <> 'revoked'", person)
	if err != nil {
		return err
	}
	for _, c := range owned {
		if err := w.triggered(ctx, writ.OnOwnerLeaves, "credential", c.ID); err != nil {
			return err
		}
		successor, err := w.successor(ctx, c.Backup)
		if err != nil {
			return err
		}
		switch {
		case successor != "":
			c.Owner, c.Backup = successor, ""
			w.put(c.ID, c)
		case c.State == writ.Active:
			c.State = writ.Suspended
			w.put(c.ID, c)
		}
	}
	return nil
}

// successor is the backup owner if that is a living person, else "". Somebody
// whose row is not believed is nobody.
func (w *work) successor(ctx context.Context, backup writ.ID) (writ.ID, error) {
	if backup == "" {
		return "", nil
	}
	p, err := find[writ.Identity](ctx, w, backup)
	switch {
	case writ.KindOf(err) == writ.KindNotFound:
		return "", nil
	case err != nil:
		return "", err
	case w.doubted[backup] || p.Kind != writ.Person || !p.Live(w.now):
		return "", nil
	}
	return backup, nil
}

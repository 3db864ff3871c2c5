package evidence

import (
	"net/netip"
	"slices"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// credential follows the credential, the version that was used and the
// application that it opens.
func (j *judgement) credential() (err error) {
	if j.app, err = own(j, j.d.Application, func(a *writ.Application) (writ.ID, writ.ID) { return a.ID, a.Org }); err != nil {
		return err
	}
	if j.cred, err = own(j, j.d.Credential, func(c *writ.Credential) (writ.ID, writ.ID) { return c.ID, c.Org }); err != nil {
		return err
	}
	if j.version, err = own(j, j.d.Version, func(v *writ.Version) (writ.ID, writ.ID) { return v.ID, v.Org }); err != nil {
		return err
	}
	a, c, v := j.app, j.cred, j.version
	for _, x := range []struct {
		id      writ.ID
		state   writ.State
		expires writ.Time
	}{{a.ID, a.State, 0}, {c.ID, c.State, c.Expires}, {v.ID, v.State, 0}} {
		if err := j.live(x.id, x.state, x.expires); err != nil {
			return err
		}
	}
	switch {
	case c.App != a.ID:
		return j.wrong(c.ID, "the credential is not for the application that the use names")
	case v.Credential != c.ID || c.Current != v.ID:
		return j.wrong(v.ID, "the version is not the credential's current one")
	case len(v.SealedHash) != 64 || v.Fingerprint == "" || v.KeyID == "":
		return j.wrong(v.ID, "the version does not name its value")
	}
	placed := string(v.Placement.In)
	if v.Placement.Name != "" {
		placed += " " + show(v.Placement.Name)
	}
	j.report.proven("The credential was "+show(c.Name)+" ("+string(c.ID)+") in version "+number(int64(v.Number))+" ("+string(v.ID)+"): the sealed bytes with SHA-256 "+show(v.SealedHash)+
		", of the value with fingerprint "+show(v.Fingerprint)+" under the key "+show(v.KeyID)+", sealed for "+show(strings.Join(v.Hosts, ", "))+" and attached as "+placed+
		"; it opens the application "+show(a.Name)+" in "+show(string(a.Env))+".", j.seqs(c.ID, v.ID, a.ID)...)
	return nil
}

// governed asks for the provenance of the credential (invariant 8), its owner
// (invariant 7), and whether agents may use it.
func (j *judgement) governed() error {
	c := j.cred
	production := j.app.Env != writ.Dev && j.app.Env != writ.Staging
	if missing := c.Ungoverned(); len(missing) > 0 {
		ends := c.GraceEnds(j.settings.GraceDays)
		if production || j.settings.GraceDays == 0 || ends.Passed(j.d.Time) || ends.Passed(j.m.allow.leaf.Time) {
			return j.wrong(c.ID, "the credential was outside governance: it lacks "+strings.Join(missing, ", "))
		}
		j.report.proven("The credential lacked "+strings.Join(missing, ", ")+" and was used in the organization's grace.", j.seqs(c.ID)...)
	} else {
		by, seqs := j.person(c.Authoriser)
		triggers := make([]string, len(c.Triggers))
		for i, t := range c.Triggers {
			triggers[i] = show(string(t))
		}
		j.report.proven("It was issued by "+show(c.Issuer)+", authorised by "+by+", for: "+show(c.Purpose)+"; withdrawn by "+strings.Join(triggers, ", ")+".", append(j.seqs(c.ID), seqs...)...)
	}
	if c.Owner != "" {
		if err := j.answers("the credential "+show(c.Name), c.ID, c.Owner, c.Backup); err != nil {
			return err
		}
	}
	agent := func(i *writ.Identity) bool { return i != nil && i.Kind != writ.Person && i.Kind != writ.Service }
	if !slices.ContainsFunc(j.path, agent) && !slices.ContainsFunc(j.parents, agent) {
		return nil
	}
	if c.AIUse != writ.AIAllowed && (c.AIUse != writ.AINeedsControls || production) {
		return j.wrong(c.ID, "agents were not allowed to use the credential")
	}
	return nil
}

// maxConditions bounds a grant's networks, times and programs, each.
const maxConditions = 100

// grant follows the grant to its root and asks whether each lies within the
// one it was made from (invariant 9).
func (j *judgement) grant() error {
	for id := j.d.Grant; id != ""; {
		if len(j.grants) > maxChain {
			return j.wrong(id, "the chain of grants has no end")
		}
		g, err := own(j, id, func(g *writ.Grant) (writ.ID, writ.ID) { return g.ID, g.Org })
		if err != nil {
			return err
		}
		if err := j.live(id, g.State, g.Expires); err != nil {
			return err
		}
		// Comparing two grants costs the product of their sizes.
		if c := &g.Conditions; g.Validate() != nil || max(len(c.Networks), len(c.Windows), len(c.Executables)) > maxConditions {
			return j.wrong(id, "the grant "+string(id)+" is not one that can be given")
		}
		if n := len(j.grants); n > 0 {
			if err := writ.Attenuates(j.grants[n-1], g, j.settings.Depth()); err != nil {
				return j.wrong(j.grants[n-1].ID, "the grant "+string(j.grants[n-1].ID)+" is not narrower than "+string(id)+", which it was made from: "+show(err.Error()))
			}
		}
		j.grants = append(j.grants, g)
		id = g.Parent
	}
	switch {
	case len(j.grants) == 0 || j.grants[len(j.grants)-1].Depth != 0:
		return j.wrong(j.d.Grant, "the chain of grants does not lead to one that was not delegated")
	case j.grants[0].Identity != j.d.Identity:
		return j.wrong(j.d.Grant, "the grant is another identity's")
	case j.grants[0].Credential != j.cred.ID:
		return j.wrong(j.d.Grant, "the grant is for another credential")
	}
	for i, g := range j.grants {
		seq := j.m.records[g.ID]
		by, seqs := j.person(g.Authoriser)
		text := "The grant " + string(g.ID)
		if i > 0 {
			text += ", from which the one before was made and within which it lies,"
		}
		text += " was given by " + by + " on " + g.Created.String()
		if g.Purpose != "" {
			text += ", for: " + show(g.Purpose)
		}
		if text += ", and was in force"; g.Expires != 0 {
			text += " until " + g.Expires.String()
		}
		ch := j.m.changes[seq].changed
		who, more := j.known(ch.By.Identity)
		j.report.proven(text+"; the last change of it was "+show(ch.Act)+" by "+who+".", append(append(seqs, seq), more...)...)
	}
	return nil
}

// known is the label of somebody who is shown anyway: an id is enough for
// everybody else.
func (j *judgement) known(id writ.ID) (string, []int64) {
	if id == "" {
		return "the program itself", nil
	}
	if j.names[id] != "" {
		return j.person(id)
	}
	return show(string(id)), nil
}

// covered asks whether the request was within the grant, its ancestors, the
// application and the version, in the context that was recorded.
func (j *judgement) covered() error {
	v := j.m.verdict
	if v.Ask == nil {
		j.report.unproven("What was asked, and that the grant covers it: that part is erased or left out of this file.", j.m.allow.leaf.Seq)
		return nil
	}
	j.m.allow.reads(ledger.PartDetail)
	ask, err := v.Replay(j.app.Profile)
	if err != nil || ask.Refused != "" {
		return j.wrong(j.app.ID, "the request has no single reading under the application's profile")
	}
	j.report.Request = show(ask.Method) + " " + show(ask.Scheme) + "://" + show(ask.Host) + writ.Printable(ask.Target.Raw, 1000)
	switch {
	case ask.Scheme != "https" && (ask.Scheme != "http" || !j.app.Cleartext):
		return j.wrong(j.app.ID, "the request would have shown the credential to the network")
	case !j.app.HasHost(ask.Host) || !slices.Contains(j.version.Hosts, ask.Host):
		return j.wrong(j.version.ID, "the credential was not sealed for the host of the request")
	case ask.Hint != "" && ask.Hint != j.cred.Name && ask.Hint != string(j.cred.ID):
		return j.wrong(j.cred.ID, "the request asked for another credential")
	}
	req := ask.Request
	if ask.Info.Mode != writ.BodySpooled || ask.Info.Unreadable != "" {
		req.Body = nil // a body that was not kept binds nothing (T18)
	}
	for i, g := range j.grants {
		rule, miss := g.Covers(&req)
		if miss != writ.Inside && j.unrecorded(g) {
			j.report.unproven("That the grant "+string(g.ID)+" covers the request: a value that its rules look at is too long to be recorded.", j.m.allow.leaf.Seq)
			continue
		}
		if miss != writ.Inside || i == 0 && rule != j.d.Rule {
			return j.wrong(g.ID, "the grant "+string(g.ID)+" does not cover the request by the rule that the decision names")
		}
		ctx := writ.Context{Network: ask.Source, Executable: ask.Runtime.Executable, Device: j.sessions[0].Device, Now: ask.Time}
		if unmet := g.Conditions.Hold(ctx); unmet != "" {
			return j.wrong(g.ID, "the grant "+string(g.ID)+" is bound to a "+unmet+" that the use did not have")
		}
		if i == 0 {
			j.report.proven("Its rule "+show(g.Rules[rule].String())+" covers the request "+j.report.Request+j.from(ask.Source)+", and its conditions held.", j.m.allow.leaf.Seq, j.m.records[g.ID])
		}
	}
	return nil
}

func (j *judgement) from(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return " from " + a.String()
}

// unrecorded reports that the grant's rules look at a value that the record
// leaves out because it is longer than records hold.
func (j *judgement) unrecorded(g *writ.Grant) bool {
	v := j.m.verdict
	for i := range g.Rules {
		for _, c := range g.Rules[i].Query {
			if slices.ContainsFunc(v.Hidden, func(n int) bool { return v.Ask.Target.Query[n].Name == c.Key }) {
				return true
			}
		}
		for _, c := range g.Rules[i].Body {
			if s, ok := v.Ask.Body[c.Key]; ok && s.Kind == 0 {
				return true
			}
		}
	}
	return false
}

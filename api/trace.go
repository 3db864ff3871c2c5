package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"writ.dev/writ"
	"writ.dev/writ/client"
)

// trace tells a use or denial in eight sentences, from the facts as they were
// when it was decided.
func (s *Server) trace(ctx context.Context, ref string) (*client.Trace, error) {
	j, err := s.verdict(ctx, ref)
	if err != nil {
		return nil, err
	}
	p, erased, err := s.past(ctx, j.log, j.Records)
	if err != nil {
		return nil, err
	}
	d := &j.Decision
	t := &client.Trace{ID: d.ID, Decision: d.ID, Allowed: d.Allow, Reasons: d.Reasons}
	if t.Ledger, err = j.position(s, ctx); err != nil {
		return nil, err
	}
	if d.Allow {
		t.ID = writ.UseOf(d.ID)
		t.Ledger.Outcome = j.use.OutcomeSeq
		if t.Outcome, err = j.outcome(ctx, s); err != nil {
			return nil, err
		}
	}
	b := &teller{p: p, j: j, outcome: t.Outcome, today: func(id writ.ID) string { return s.label(ctx, j.log.Head().Org, id) }}
	t.Title = b.title()
	for _, tell := range []func() client.Sentence{b.owner, b.issued, b.scope, b.authorised, b.delegation, b.runtime, b.used, b.ends} {
		t.Sentences = append(t.Sentences, tell())
	}
	if len(erased) > 0 {
		last := &t.Sentences[len(t.Sentences)-1]
		last.Missing = append(last.Missing, "what was erased: "+strings.Join(texted(erased), ", "))
	}
	return t, nil
}

// teller makes the sentences of one trace.
type teller struct {
	p       past
	j       *judged
	outcome *writ.Outcome
	// today is the label that a thing has now, for people whom the decision did
	// not rest on and whose record it therefore does not name.
	today func(id writ.ID) string
}

// sentence collects facts; a fact without a value is missing, and said so.
type sentence struct {
	client.Sentence
	words []string
}

func about(subject string) *sentence {
	return &sentence{Sentence: client.Sentence{About: subject, Facts: []client.Fact{}}}
}

// fact adds a fact and how it reads: format takes the value, and begins with
// what joins it to the fact before.
func (s *sentence) fact(name, value string, id writ.ID, format string) *sentence {
	s.Facts = append(s.Facts, client.Fact{Name: name, Value: value, ID: id})
	if value == "" {
		s.Missing = append(s.Missing, name)
		return s
	}
	s.words = append(s.words, fmt.Sprintf(format, value))
	return s
}

// maybe is fact for what is not missing when it is not there.
func (s *sentence) maybe(name, value string, id writ.ID, format string) *sentence {
	if value == "" {
		return s
	}
	return s.fact(name, value, id, format)
}

func (s *sentence) end() client.Sentence {
	s.Text = strings.TrimLeft(strings.Join(s.words, ""), " ,;:")
	if len(s.Missing) > 0 {
		missing := "not recorded: " + strings.Join(s.Missing, ", ")
		if s.Text == "" {
			s.Text = missing
		} else {
			s.Text += "; " + missing
		}
	}
	s.Text += "."
	return s.Sentence
}

func texted(ids []writ.ID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func (t *teller) title() string {
	d, a := &t.j.Decision, t.j.Ask
	verb := map[bool]string{true: "used", false: "was denied"}[d.Allow]
	who := t.p.label(d.Identity)
	if who == "" {
		who = string(d.Identity)
	}
	what := string(d.Credential)
	if c := then[writ.Credential](t.p, d.Credential); c != nil {
		what = c.Name
	}
	request := "a request whose detail is erased"
	if a != nil {
		request = a.Method + " " + a.Host + a.Target.Raw
	}
	if !d.Allow {
		return fmt.Sprintf("%s %s %s (%s)", who, verb, request, d.Reason())
	}
	return fmt.Sprintf("%s %s %s for %s", who, verb, what, request)
}

func (t *teller) owner() client.Sentence {
	s, c, who := about("owner"), then[writ.Credential](t.p, t.j.Decision.Credential), then[writ.Identity](t.p, t.j.Decision.Identity)
	switch {
	case c != nil:
		s.fact("owner", t.named(c.Owner), c.Owner, "%s answers for "+c.Name)
		s.maybe("backup", t.named(c.Backup), c.Backup, ", and %s after her")
	default:
		s.fact("credential", "", "", "%s")
	}
	if who != nil && who.Kind != writ.Person {
		s.fact("owner of "+who.Label(), t.named(who.Owner), who.Owner, "; %s answers for "+who.Label())
	}
	return s.end()
}

// named is the label of a thing, or its id where only that is known.
func (t *teller) named(id writ.ID) string {
	if label := t.p.label(id); label != "" || id == "" {
		return label
	}
	if label := t.today(id); label != "" {
		return label
	}
	return string(id)
}

func (t *teller) issued() client.Sentence {
	s, c := about("issued"), then[writ.Credential](t.p, t.j.Decision.Credential)
	if c == nil {
		return s.fact("credential", "", "", "%s").end()
	}
	s.fact("issuer", c.Issuer, "", "issued by %s")
	s.fact("issued at", c.Issued.String(), "", " on %s")
	s.fact("purpose", c.Purpose, "", " for: %s")
	s.maybe("source", c.Source, "", ", found in %s")
	s.fact("registered", c.Created.String(), c.ID, ", registered here on %s")
	if v := then[writ.Version](t.p, t.j.Decision.Version); v != nil {
		s.fact("version", strconv.Itoa(v.Number), v.ID, " as version %s")
	} else if t.j.Decision.Allow {
		s.fact("version", "", t.j.Decision.Version, "%s")
	}
	return s.end()
}

func (t *teller) scope() client.Sentence {
	s, d := about("scope"), &t.j.Decision
	g := then[writ.Grant](t.p, d.Grant)
	if g == nil {
		return s.fact("grant", string(d.Grant), d.Grant, "grant %s").fact("rules", "", "", "%s").end()
	}
	s.fact("grant", string(g.ID), g.ID, "grant %s")
	s.fact("rules", strings.Join(texts(g.Rules), "; "), "", " allows %s")
	if d.Allow && d.Rule >= 0 && d.Rule < len(g.Rules) {
		s.fact("rule", g.Rules[d.Rule].String(), "", ", and covers this by the rule %s")
	}
	if g.Limits.Uses > 0 {
		s.fact("uses", strconv.FormatInt(g.Limits.Uses, 10), "", ", %s uses in all")
	}
	if g.Limits.PerMinute > 0 {
		s.fact("rate", strconv.Itoa(g.Limits.PerMinute), "", ", %s a minute")
	}
	if app := then[writ.Application](t.p, d.Application); app != nil {
		s.fact("application", app.Name, app.ID, ", at %s")
		s.fact("environment", string(app.Env), "", " in %s")
	}
	return s.end()
}

func (t *teller) authorised() client.Sentence {
	s, d := about("authorised"), &t.j.Decision
	if g := then[writ.Grant](t.p, d.Grant); g != nil {
		s.fact("authoriser of the grant", t.named(g.Authoriser), g.Authoriser, "%s gave the grant")
		s.fact("granted", g.Created.String(), "", " on %s")
		s.maybe("purpose of the grant", g.Purpose, "", " for: %s")
	} else {
		s.fact("grant", "", "", "%s")
	}
	if c := then[writ.Credential](t.p, d.Credential); c != nil {
		s.fact("authoriser of the credential", t.named(c.Authoriser), c.Authoriser, "; %s authorised the credential")
	}
	s.fact("guardrails", short(d.Policy), "", ", under the guardrails %s")
	return s.end()
}

func short(hash string) string { return hash[:min(len(hash), 12)] }

func (t *teller) delegation() client.Sentence {
	s, d := about("delegation"), &t.j.Decision
	path := make([]string, len(d.Path))
	for i, id := range d.Path {
		path[i] = t.named(id)
	}
	s.fact("path", strings.Join(path, " → "), d.Identity, "%s")
	s.fact("basis", string(d.Basis), "", ", on the authority %s")
	if g := then[writ.Grant](t.p, d.Grant); g != nil && g.Parent != "" {
		var chain []string
		for up := then[writ.Grant](t.p, g.Parent); up != nil; up = then[writ.Grant](t.p, up.Parent) {
			chain = append(chain, string(up.ID))
		}
		s.fact("delegated from", strings.Join(chain, " ← "), g.Parent, ", delegated from %s")
	}
	return s.end()
}

func (t *teller) runtime() client.Sentence {
	s, d := about("runtime"), &t.j.Decision
	if x := then[writ.Session](t.p, d.Session); x != nil {
		s.fact("session", string(x.ID), x.ID, "in session %s")
		s.fact("started by", t.named(x.Started), x.Started, ", which %s started")
		s.fact("started", x.Created.String(), "", " on %s")
		s.fact("task", x.Task, "", " for the task: %s")
		s.fact("isolation", x.Isolation, "", ", isolation %s")
	} else {
		s.fact("session", string(d.Session), d.Session, "in session %s")
	}
	if t.j.Ask == nil {
		return s.fact("runtime", "", "", "%s").end()
	}
	r := &t.j.Ask.Runtime
	s.fact("program", r.Program, "", ", program %s")
	s.maybe("executable", short(r.Executable), "", " (SHA-256 %s)")
	s.maybe("directory", r.Directory, "", " in %s")
	s.maybe("commit", short(r.GitCommit), "", " at commit %s")
	source := ""
	if t.j.Ask.Source.IsValid() {
		source = t.j.Ask.Source.String()
	}
	return s.fact("address", source, "", ", from %s").end()
}

func (t *teller) used() client.Sentence {
	s, d, a := about("used"), &t.j.Decision, t.j.Ask
	s.fact("time", d.Time.String(), "", "%s")
	if a == nil {
		s.fact("request", "", "", "%s")
	} else {
		s.fact("request", a.Method+" "+a.Scheme+"://"+a.Host+a.Target.Raw, "", " %s")
	}
	if !d.Allow {
		s.fact("denied", string(d.Reason()), "", ", denied: %s")
		s.maybe("detail", d.Detail, "", "; %s")
		return s.maybe("needed", strings.Join(d.Missing, ", "), "", "; needed: %s").end()
	}
	if t.outcome == nil {
		return s.fact("outcome", "", "", "%s").end()
	}
	o := t.outcome
	s.fact("outcome", string(o.Kind), "", ": %s")
	if o.Status > 0 {
		s.fact("status", strconv.Itoa(o.Status), "", ", HTTP %s")
	}
	s.fact("took", strconv.FormatInt(o.Millis, 10), "", ", in %s ms")
	if o.Masked > 0 {
		s.fact("masked", strconv.Itoa(o.Masked), "", ", the secret masked in the answer %s times")
	}
	return s.maybe("error", o.Error, "", ", %s").end()
}

func (t *teller) ends() client.Sentence {
	s, d := about("ends"), &t.j.Decision
	if g := then[writ.Grant](t.p, d.Grant); g != nil {
		if g.Expires == 0 {
			s.fact("expiry of the grant", "", g.ID, "%s")
		} else {
			s.fact("expiry of the grant", g.Expires.String(), g.ID, "the grant ends on %s")
		}
		s.maybe("triggers of the grant", joined(g.Triggers), g.ID, " or by %s")
	}
	if x := then[writ.Session](t.p, d.Session); x != nil {
		s.fact("end of the session", x.Expires.String(), x.ID, "; the session on %s at the latest")
	}
	if c := then[writ.Credential](t.p, d.Credential); c != nil {
		s.fact("triggers of the credential", joined(c.Triggers), c.ID, "; the credential by %s")
		s.maybe("expiry of the credential", c.Expires.String(), c.ID, " or on %s")
	}
	if i := then[writ.Identity](t.p, d.Identity); i != nil && i.Expires != 0 {
		s.fact("expiry of "+i.Label(), i.Expires.String(), i.ID, "; "+i.Label()+" on %s")
	}
	if len(s.Facts) == 0 {
		s.fact("what ends it", "", "", "%s")
	}
	return s.end()
}

func joined(triggers []writ.Trigger) string {
	names := make([]string, len(triggers))
	for i, t := range triggers {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// Package broker is the one path on which a credential is used: Use registers
// what is about to happen, has it decided, has it recorded, opens the secret
// with the receipt, and hands it to a callback that carries it out. Proxy,
// gateway and probe differ only in how they build the Ask and in what they do
// with the secret (invariant 2). The package also keeps the registry of what
// is in flight, which a revocation cuts.
package broker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/ledger"
	"writ.dev/writ/vault"
)

// Authority gives the facts of a decision: one consistent view, or an error
// when there is none.
type Authority interface {
	Facts(ctx context.Context, ask *writ.Ask) (*decide.Facts, error)
	// Take takes one use out of the rates of the grants among ids, all or none.
	Take(org writ.ID, ids []writ.ID) bool
}

// Logs gives an organization's ledger.
type Logs interface {
	Log(ctx context.Context, org writ.ID) (*ledger.Log, error)
}

// Opener opens a secret against a receipt.
type Opener interface {
	Open(ctx context.Context, r ledger.Receipt) (*vault.Secret, error)
}

// Config is what a Broker is made of.
type Config struct {
	Authority Authority
	Logs      Logs
	Vault     Opener
	Clock     func() time.Time
	Logger    *slog.Logger
}

// Broker carries out uses. It is safe for concurrent use.
type Broker struct {
	Config
	flights *registry
	cuts    cuttings
}

// New makes a Broker.
func New(c Config) *Broker {
	return &Broker{Config: c, flights: newRegistry()}
}

// Intent is an Ask with the means to read its body, should a rule need it.
type Intent struct {
	Ask             *writ.Ask
	ContentType     string
	ContentEncoding string
	// Spool reads the whole body, at most limit bytes, and keeps it for the
	// carrier. Only now does a client that expects 100-continue get it. Nil: the
	// request has no body.
	Spool func(limit int64) ([]byte, error)
}

// SpoolLimit is the largest body that a rule can look into, in bytes.
const SpoolLimit = 8 << 20

// Use is one allowed use, for as long as its carrier runs.
type Use struct {
	Ask         *writ.Ask
	Decision    *writ.Decision
	Application *writ.Application
	Version     *writ.Version
	*Lease

	secret *vault.Secret
}

// Secret lends the secret's bytes to f. They are cleared when the carrier
// returns; f must not keep them.
func (u *Use) Secret(f func(secret []byte) error) error { return u.secret.Use(f) }

// Carrier carries out an allowed use: it attaches the secret, calls u.Send
// before the first byte that carries it leaves, and says what became of it.
type Carrier func(ctx context.Context, u *Use) writ.Outcome

// attempts bounds how often a use is decided anew because authority changed
// between its decision and its entry.
const attempts = 4

// Use decides the intent and, when it is allowed, carries it out.
//
// The order is the design:
//
//  1. A lease is registered before anything is read, so that a revocation
//     finds the use whatever it has got to.
//  2. The facts are read: one view, stamped with its epoch.
//  3. The decision is made from them alone.
//  4. The lease is tied to all the decision rests on, unless authority changed
//     since the facts were read; from here on a change finds the lease, and
//     what it narrows is judged again. Then the entry is made durable. An end
//     that is committed before the entry is seen by the ledger's recheck, too.
//  5. The secret is opened with the receipt.
//  6. The carrier runs. A crash from here on leaves an allow without an
//     outcome, which is itself a finding.
//  7. The outcome is recorded, whatever happened.
//
// The decision is returned in either case; err is set when it is a denial or
// when nothing could be carried out.
func (b *Broker) Use(ctx context.Context, in Intent, carry Carrier) (*writ.Decision, error) {
	ask := in.Ask
	rests := []writ.ID{}
	if ask.Session != "" {
		rests = append(rests, ask.Session)
	}
	lease := b.flights.open(ctx, ask.Org, FlightUse, rests...)
	defer lease.Close()

	log, err := b.Logs.Log(ctx, ask.Org)
	if err != nil {
		return b.refuse(nil, ask, nil, b.denial(ask, writ.LedgerUnavailable, "the ledger cannot be opened, so nothing is used"), err)
	}
	for range attempts {
		ask.ID = writ.NewOrderedID(writ.KindDecision, b.Clock())
		if lease.WasCut() {
			return b.refuse(log, ask, nil, b.justRevoked(ask), nil)
		}
		facts, err := b.factsWithBody(lease.Context(), in)
		if err != nil {
			return b.refuse(log, ask, nil, b.denial(ask, writ.AuthorityStale, "who may use what cannot be told right now"), err)
		}
		decision, allow := decide.Decide(ask, facts)
		if !allow.OK() {
			return b.refuse(log, ask, facts, &decision, nil)
		}
		if !b.flights.rest(lease, ask, facts.Epoch, decision.Rests) {
			continue // authority changed since the facts were read: decide anew
		}
		if !b.Authority.Take(ask.Org, decision.Rests) {
			// Somebody else took the last one since the facts were read.
			return b.refuse(log, ask, facts, overtaken(ask, facts, decision, writ.QuotaExceeded, "the rate of the grant is exhausted for now"), nil)
		}
		receipt, err := log.Append(lease.Context(), allow, mentioned(facts)...)
		var gone *ledger.BasisGone
		switch {
		case errors.As(err, &gone) && gone.Exhausted != "":
			return b.refuse(log, ask, facts, overtaken(ask, facts, decision, writ.QuotaExceeded, "the number of uses of grant "+string(gone.Exhausted)+" is exhausted"), nil)
		case errors.As(err, &gone):
			continue // authority changed in between: decide anew
		case lease.WasCut():
			// Without its facts: they are from before the revocation.
			return b.refuse(log, ask, nil, overtaken(ask, facts, decision, writ.SessionEnded, revokedJustNow), nil)
		case err != nil:
			return b.refuse(log, ask, facts, overtaken(ask, facts, decision, writ.LedgerUnavailable, "the ledger could not record this use, so it did not happen"), err)
		}
		return &decision, b.carryOut(log, lease, in, facts, &decision, receipt, carry)
	}
	return b.refuse(log, ask, nil, b.denial(ask, writ.AuthorityStale, "authority changed repeatedly while this was decided"), nil)
}

// carryOut is steps 5 to 7 of Use. From here on the allow is in the ledger, so
// an outcome follows on every path.
func (b *Broker) carryOut(log *ledger.Log, lease *Lease, in Intent, facts *decide.Facts, d *writ.Decision, r ledger.Receipt, carry Carrier) error {
	start := b.Clock()
	outcome := writ.Outcome{Use: writ.UseOf(d.ID), Kind: writ.Suppressed}
	defer func() {
		outcome.Use = writ.UseOf(d.ID)
		outcome.Millis = b.Clock().Sub(start).Milliseconds()
		log.Outcome(outcome)
	}()
	c := chosen(facts, d)
	if c == nil || c.App == nil {
		outcome.Error = "the decision names a version that its facts lack"
		return writ.Errorf(writ.KindInternal, "no version for the decision")
	}
	if until := decide.Until(facts, c); until != 0 {
		// What runs out takes with it what is open: nobody revokes an expiry.
		end := time.AfterFunc(until.Go().Sub(start), func() { cutLease(lease) })
		defer end.Stop()
	}
	// The vault is asked under the lease: a use that was cut while its entry was
	// written opens nothing.
	secret, err := b.Vault.Open(lease.Context(), r)
	if err != nil {
		outcome.Error = "the secret could not be opened"
		b.Logger.Error("open secret", "decision", d.ID, "version", d.Version, "err", err)
		return writ.Errorf(writ.KindUnavailable, "the credential could not be opened").WithFix("ask an operator to look at the server's log for decision %s", d.ID).WithCause(err)
	}
	defer secret.Clear()
	u := &Use{Ask: in.Ask, Decision: d, Application: c.App, Version: c.Version, Lease: lease, secret: secret}
	outcome = carry(lease.Context(), u)
	if lease.WasCut() && outcome.Kind != writ.Completed && outcome.Kind != writ.Suppressed {
		outcome.Kind = writ.Cut
	}
	return nil
}

// chosen finds the candidate that the decision is about among the facts it was
// made on.
func chosen(facts *decide.Facts, d *writ.Decision) *decide.Candidate {
	for i := range facts.Candidates {
		c := &facts.Candidates[i]
		if c.Grant.ID == d.Grant && c.Version != nil && c.Version.ID == d.Version {
			return c
		}
	}
	return nil
}

// factsWithBody reads the facts and, when a rule can only be judged with the
// body, the body; then the facts again, since reading a body takes the client's
// time and authority may have changed meanwhile.
func (b *Broker) factsWithBody(ctx context.Context, in Intent) (*decide.Facts, error) {
	facts, err := b.Authority.Facts(ctx, in.Ask)
	if err != nil || in.Spool == nil || in.Ask.Info.Mode == writ.BodySpooled {
		return facts, err
	}
	pointers := bodyPointers(in.Ask, facts)
	if len(pointers) == 0 {
		return facts, nil
	}
	in.spool(pointers)
	return b.Authority.Facts(ctx, in.Ask)
}

// spool reads the body into the Ask. A body that cannot be read stays nil, and
// rules that need it deny.
func (in *Intent) spool(pointers []string) {
	info := &in.Ask.Info
	info.Mode = writ.BodySpooled
	body, err := in.Spool(SpoolLimit)
	if err != nil {
		info.Unreadable = "it is larger than 8 MiB or was cut short"
		return
	}
	info.Length, info.SHA256 = int64(len(body)), sum(body)
	values, err := readValues(in.ContentType, in.ContentEncoding, body, pointers)
	if err != nil {
		info.Unreadable = err.Error()
		return
	}
	info.Values, in.Ask.Body = values, values
}

// bodyPointers lists the pointers of all rules that could still cover the
// request if its body were known, those of ancestors included.
func bodyPointers(ask *writ.Ask, facts *decide.Facts) []string {
	var pointers []string
	collect := func(g *writ.Grant) {
		for i := range g.Rules {
			if g.Rules[i].Covers(&ask.Request) != writ.OutsideUnknownBody {
				continue
			}
			for _, c := range g.Rules[i].Body {
				pointers = append(pointers, c.Key)
			}
		}
	}
	for _, c := range facts.Candidates {
		collect(c.Grant)
		for _, a := range c.Ancestors {
			collect(a)
		}
	}
	return pointers
}

// mentioned lists the query parameters that rules of the candidates look at:
// their values are recorded, and no others are.
func mentioned(facts *decide.Facts) []string {
	var names []string
	collect := func(g *writ.Grant) {
		for i := range g.Rules {
			for _, c := range g.Rules[i].Query {
				names = append(names, c.Key)
			}
		}
	}
	for i := range facts.Candidates {
		collect(facts.Candidates[i].Grant)
		for _, a := range facts.Candidates[i].Ancestors {
			collect(a)
		}
	}
	return names
}

// denial is a decision that Decide could not come to, because something else
// failed first.
func (b *Broker) denial(ask *writ.Ask, r writ.Reason, detail string) *writ.Decision {
	return &writ.Decision{ID: ask.ID, Time: ask.Time, Reasons: []writ.Reason{r}, Detail: detail, Session: ask.Session}
}

// overtaken is the denial of what was decided to be allowed and then could not
// be: it keeps who asked, for whom and with which grant, which a trace tells.
func overtaken(ask *writ.Ask, facts *decide.Facts, d writ.Decision, r writ.Reason, why string) *writ.Decision {
	d.Allow, d.Version, d.Rule, d.Rests = false, "", 0, nil
	d.Reasons = []writ.Reason{r}
	path, _, _ := strings.Cut(ask.Target.Raw, "?") // a query may carry secrets (T54)
	d.Detail = writ.Printable(facts.Identity.Label(), 80) + " may not " + writ.Printable(ask.Method, 20) + " " + writ.Printable(ask.Host, 80) + writ.Printable(path, 100) + ": " + why
	return &d
}

const revokedJustNow = "what this request rests on was just revoked"

func (b *Broker) justRevoked(ask *writ.Ask) *writ.Decision {
	return b.denial(ask, writ.SessionEnded, revokedJustNow)
}

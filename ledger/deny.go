package ledger

import (
	"hash/maphash"
	"sync"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/decide"
	"writ.dev/writ/internal/canon"
)

// Denial is one decision that said no.
type Denial struct {
	Ask      *writ.Ask
	Decision *writ.Decision
	// Records name the facts that the decision was made on, Mentioned the query
	// parameters whose values it looked at; a replay needs both.
	Records   []decide.Record
	Mentioned []string
}

const (
	// denialWindow is how long repeats of a denial are counted before the count
	// is written.
	denialWindow = time.Minute
	// deniedTargets is how many targets of one session and reason are kept apart
	// in a window, deniedKeys how many denials in all. Beyond them the targets,
	// and then the sessions, are counted together.
	deniedTargets = 64
	deniedKeys    = 16384
	// pendingDenials bounds what waits for a database that takes nothing.
	pendingDenials = 4096
)

// denialTable counts repeated denials, so that a looping agent costs a few
// entries a minute and no disk (R24).
type denialTable struct {
	mu      sync.Mutex
	seed    maphash.Seed
	byKey   map[uint64]*repeat
	targets map[uint64]int // of one session and reason
	order   []*repeat      // by the end of the window; all windows are equally long
}

// repeat is a denial that may come again.
type repeat struct {
	key, group  uint64
	id          writ.ID // of the first
	session     writ.ID
	reason      writ.Reason
	count       int64 // beside the first
	first, last writ.Time
	until       time.Time
	unrecorded  bool // the first has no entry: it is in the count
	grouped     bool // counts against deniedTargets
}

func (t *denialTable) init() {
	t.seed = maphash.MakeSeed()
	t.byKey, t.targets = map[uint64]*repeat{}, map[uint64]int{}
}

func (t *denialTable) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, p := range parts {
		h.WriteString(p)
		h.WriteByte(0)
	}
	return h.Sum64()
}

// find gives the repeat that a denial belongs to and whether it is its first.
func (t *denialTable) find(session writ.ID, reason writ.Reason, target string, now time.Time) (r *repeat, first bool) {
	group := t.hash(string(session), string(reason))
	key := t.hash(string(session), string(reason), target)
	if r = t.byKey[key]; r != nil {
		return r, false
	}
	r = &repeat{key: key, group: group, session: session, reason: reason, until: now.Add(denialWindow), grouped: true}
	if t.targets[group] >= deniedTargets {
		// Too many targets: the rest of them share one place.
		r.key, r.grouped = group, false
	}
	if len(t.byKey) >= deniedKeys {
		// Too many of everything: one place for all, without a name.
		r.key, r.grouped, r.unrecorded = 0, false, true
		r.session, r.reason = "", ""
	}
	if have := t.byKey[r.key]; have != nil {
		return have, false
	}
	if r.grouped {
		t.targets[group]++
	}
	t.byKey[r.key] = r
	t.order = append(t.order, r)
	return r, true
}

// Deny records a denial without waiting, and gives the id to show for it: its
// own, or that of the first when the same session was denied the same target
// for the same reason less than a minute ago; such repeats are counted and
// recorded as one summary. Denials of nobody in particular are only counted.
// Deny never blocks on the database.
func (l *Log) Deny(d Denial) writ.ID {
	if d.Ask == nil || d.Ask.Session == "" {
		l.counts.unauthenticated.Add(1)
		return d.Decision.ID
	}
	now := writ.At(l.cfg.Clock())
	t := &l.denied
	t.mu.Lock()
	r, first := t.find(d.Ask.Session, d.Decision.Reason(), d.Ask.Method+" "+d.Ask.Host+pathOf(d.Ask.Target.Raw), time.Now())
	if first {
		r.first, r.id = now, d.Decision.ID
	}
	r.last = now
	if !first || r.unrecorded {
		r.count++
	}
	id := r.id
	record := first && !r.unrecorded
	t.mu.Unlock()
	if first {
		l.poke() // the committer learns when the window ends
	}
	if record && !l.queueDenial(sealDenial(&d)) {
		t.mu.Lock()
		r.count++
		t.mu.Unlock()
	}
	return id
}

// queueDenial leaves an entry for the next batch, unless thousands wait already,
// which happens only while the database takes nothing. The denial is then in
// the count of its summary.
func (l *Log) queueDenial(p *packer) bool {
	l.q.mu.Lock()
	room := len(l.q.denials) < pendingDenials && l.q.admitLocked() == nil
	if room {
		l.q.denials = append(l.q.denials, p)
	}
	l.q.mu.Unlock()
	l.poke()
	return room
}

// due is how long until the next window ends, 0 when there is none.
func (t *denialTable) due(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		return 0
	}
	return max(t.order[0].until.Sub(now), time.Millisecond)
}

// sweepDenials ends the windows that are over, all of them when the log closes,
// and queues a summary for each that had repeats.
func (l *Log) sweepDenials(now time.Time) {
	l.q.mu.Lock()
	closing := l.q.closing
	l.q.mu.Unlock()
	t := &l.denied
	var ended []*repeat
	t.mu.Lock()
	for len(t.order) > 0 && (closing || !t.order[0].until.After(now)) {
		r := t.order[0]
		t.order[0] = nil
		t.order = t.order[1:]
		delete(t.byKey, r.key)
		if r.grouped {
			if t.targets[r.group]--; t.targets[r.group] == 0 {
				delete(t.targets, r.group)
			}
		}
		if r.count > 0 {
			ended = append(ended, r)
		}
	}
	t.mu.Unlock()
	if len(ended) == 0 {
		return
	}
	l.q.mu.Lock()
	for _, r := range ended {
		l.q.denials = append(l.q.denials, sealRepeat(r))
	}
	l.q.mu.Unlock()
}

func sealDenial(d *Denial) *packer {
	p := &packer{}
	p.begin(PartCore)
	p.pack = appendVerdict(p.pack, d.Decision, d.Ask.Time, d.Records)
	p.end()
	p.begin(PartDetail)
	p.pack = appendDetail(p.pack, d.Ask, d.Decision, shownValues(d.Ask, d.Mentioned))
	p.end()
	return p
}

// sealRepeat is the summary of a denial's repeats.
func sealRepeat(r *repeat) *packer {
	p := &packer{}
	p.begin(PartCore)
	b := append(p.pack, `{"count":`...)
	b = appendInt(b, r.count)
	b = append(b, `,"decision":`...)
	b = appendID(b, r.id)
	b = append(b, `,"first":`...)
	b = appendInt(b, int64(r.first))
	b = append(b, `,"last":`...)
	b = appendInt(b, int64(r.last))
	b = append(b, `,"reason":`...)
	b = canon.AppendString(b, string(r.reason))
	b = append(b, `,"session":`...)
	b = appendID(b, r.session)
	p.pack = append(b, '}')
	p.end()
	return p
}

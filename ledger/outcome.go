package ledger

import "writ.dev/writ"

// Outcome records what became of a use, without waiting. Outcomes of one batch
// become one entry. What waits is bounded by the uses in flight, since only a
// use that was allowed, and has no outcome yet, can have one.
func (l *Log) Outcome(o writ.Outcome) {
	l.q.mu.Lock()
	_, open := l.q.open[o.Use]
	if open {
		delete(l.q.open, o.Use)
		l.q.outcomes = append(l.q.outcomes, o)
	}
	many := len(l.q.outcomes)
	l.q.mu.Unlock()
	switch {
	case !open:
		l.counts.strays.Add(1)
	case many == 1 || many == manyOutcomes:
		l.poke()
	}
}

// sealOutcomes makes the parts of an outcomes entry: their number, and each as
// a member with a salt of its own, so that one can be shown without the others.
func sealOutcomes(outcomes []writ.Outcome) *packer {
	p := &packer{pack: make([]byte, 0, 128+160*len(outcomes))}
	p.begin(PartCore)
	p.pack = append(appendInt(append(p.pack, `{"count":`...), int64(len(outcomes))), '}')
	p.end()
	members := make([][]byte, len(outcomes))
	buf := make([]byte, 0, 112*len(outcomes))
	for i := range outcomes {
		from := len(buf)
		buf = appendOutcome(buf, &outcomes[i])
		members[i] = buf[from:len(buf):len(buf)]
	}
	p.members(members)
	return p
}

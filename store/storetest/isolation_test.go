package storetest

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"writ.dev/writ/store"
)

// tenant are the tables that hold organizations' rows.
var tenant = regexp.MustCompile(`\b(orgs|identities|applications|credentials|versions|grants|sessions|keys|policies|hosts|log_head|entries|changes|nodes|grant_uses|checkpoints|idempotency|names|uses|keysets)\b`)

// bound is how a statement is tied to one organization: by its id or number, or
// by a range of entries' keys, whose upper bits are the number.
var bound = regexp.MustCompile(`\borg = \$1|\b(c\.)?at >= \$[0-9] AND \+?(c\.)?at < \$[0-9]|\bat = \$1|INTO (\w+) \(org,|INTO (entries|changes|uses) \(at`)

// unbound are the statements that are about no one organization, with the
// reason. There may be no others.
var unbound = map[string]string{
	"SELECT body FROM orgs ORDER BY created, id": "the list of organizations is what it is for",
	"SELECT org FROM sessions WHERE hash = $1":   "whose token is this: asked before the organization is known, answered with its id alone",
	"SELECT org FROM keys WHERE hash = $1":       "as for sessions",
}

// TestInvariant14EveryStatementNamesTheOrganization runs the whole conformance
// suite and looks at every statement that reached the database.
func TestInvariant14EveryStatementNamesTheOrganization(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	t.Run("suite", func(t *testing.T) {
		Run(t, func(t testing.TB) store.Engine {
			m := NewMemory(t)
			m.Hook(func(op Op) *Fault {
				mu.Lock()
				defer mu.Unlock()
				seen[op.SQL] = true
				return nil
			})
			return m
		})
	})
	checked := 0
	for query := range seen {
		text := strings.Join(strings.Fields(query), " ")
		word, _, _ := strings.Cut(text, " ")
		switch strings.ToUpper(word) {
		case "SELECT", "INSERT", "UPDATE", "DELETE":
		default:
			continue
		}
		if !tenant.MatchString(text) || unbound[text] != "" || fromTests(text) {
			continue
		}
		checked++
		if !bound.MatchString(text) {
			t.Errorf("no organization in: %s", text)
		}
		// A subquery over a tenant table has to be bound as well.
		for _, from := range regexp.MustCompile(`(?:FROM|JOIN) (\w+)`).FindAllStringSubmatchIndex(text, -1) {
			table := text[from[2]:from[3]]
			if !tenant.MatchString(table) || table == "entries" || table == "changes" || strings.Contains(text, "max(number)") {
				continue
			}
			if rest := text[from[1]:]; !regexp.MustCompile(`^( \w)?( JOIN d ON \w+\.parent = d\.id)? WHERE (\w\.)?(org = \$1|\+?at >= \$1|decision = \$1 AND at >= \$2)`).MatchString(rest) {
				t.Errorf("%s is read without its organization in: %s", table, text)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d statements were looked at", checked)
	}
}

// fromTests are the statements by which the suite changes the database itself.
func fromTests(text string) bool {
	return strings.HasPrefix(text, "UPDATE entries SET pack") || strings.HasPrefix(text, "SELECT leaf, pack FROM entries WHERE at = $1")
}

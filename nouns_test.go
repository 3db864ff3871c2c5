package writ

import (
	"errors"
	"strings"
	"testing"
)

func wantInvalid(t *testing.T, name string, err error, field string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindInvalid || !strings.HasPrefix(e.Field, field) {
		t.Errorf("%s: %+v, want a refusal of %s", name, err, field)
	}
}

// TestInvariant07RegistrationDemandsAnOwner: a service or agent needs a person
// who is accountable, and a purpose; an agent an expiry; a person is her own.
func TestInvariant07RegistrationDemandsAnOwner(t *testing.T) {
	owner, backup := NewID(KindIdentity), NewID(KindIdentity)
	agent := func() *Identity {
		return &Identity{Kind: Agent, Name: "claude-pay", Owner: owner, Backup: backup, Purpose: "pays", Expires: 5}
	}
	for _, kind := range []IdentityKind{Agent, Service} {
		i := agent()
		i.Kind = kind
		if err := i.Validate(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for name, c := range map[string]struct {
		field  string
		change func(i *Identity)
	}{
		"no owner":             {"owner", func(i *Identity) { i.Owner = "" }},
		"an owner by name":     {"owner", func(i *Identity) { i.Owner = "ana@acme.dev" }},
		"an owner of no kind":  {"owner", func(i *Identity) { i.Owner = NewID(KindOrg) }},
		"itself twice":         {"backup", func(i *Identity) { i.Backup = i.Owner }},
		"no purpose":           {"purpose", func(i *Identity) { i.Purpose = "" }},
		"a deceiving purpose":  {"purpose", func(i *Identity) { i.Purpose = "\u202e" }},
		"no expiry":            {"expires", func(i *Identity) { i.Expires = 0 }},
		"no name":              {"name", func(i *Identity) { i.Name = "" }},
		"a person's name":      {"name", func(i *Identity) { i.Name = "ana@acme.dev" }},
		"no kind":              {"kind", func(i *Identity) { i.Kind = "" }},
		"a service's parent":   {"parent", func(i *Identity) { i.Kind, i.Parent = Service, owner }},
		"a person's owner":     {"owner", func(i *Identity) { i.Kind, i.Name = Person, "ana@acme.dev" }},
		"a person like a tool": {"name", func(i *Identity) { *i = Identity{Kind: Person, Name: "ana"} }},
	} {
		i := agent()
		c.change(i)
		wantInvalid(t, name, i.Validate(), c.field)
	}
	ana := &Identity{Kind: Person, Name: "ana@acme.dev"}
	if err := ana.Validate(); err != nil || ana.Label() != "ana@acme.dev" || agent().Label() != "agent:claude-pay" {
		t.Errorf("%v %s", err, ana.Label())
	}
}

// T3: everything that opens something ends some day.
func TestLivesAreBounded(t *testing.T) {
	key := func() *Key { return &Key{Name: "ci", Role: RoleMember, Created: 1000, Expires: 2000} }
	session := func() *Session { return &Session{Created: 1000, Expires: 2000, Isolation: "none"} }
	if key().Validate() != nil || session().Validate() != nil {
		t.Fatal("a bounded life is refused")
	}
	for name, change := range map[string]func(k *Key){
		"none": func(k *Key) { k.Expires = 0 }, "before it began": func(k *Key) { k.Expires = 1000 }, "too long": func(k *Key) { k.Expires = k.Created.Add(MaxKeyLife) + 1 },
	} {
		k := key()
		change(k)
		wantInvalid(t, "key: "+name, k.Validate(), "expires")
	}
	for name, change := range map[string]func(s *Session){
		"none": func(s *Session) { s.Expires = 0 }, "before it began": func(s *Session) { s.Expires = 999 }, "too long": func(s *Session) { s.Expires = s.Created.Add(MaxSessionLife) + 1 },
	} {
		s := session()
		change(s)
		wantInvalid(t, "session: "+name, s.Validate(), "expires")
	}
	for name, role := range map[string]Role{"none": "", "odd": "root"} {
		k := key()
		k.Role = role
		wantInvalid(t, "role: "+name, k.Validate(), "role")
	}
	s := session()
	s.Isolation = ""
	wantInvalid(t, "isolation", s.Validate(), "isolation")

	k := key()
	k.State = Active
	for _, c := range []struct {
		now, cutoff Time
		want        bool
	}{{1500, 0, true}, {1500, 1000, true}, {1500, 1001, false}, {2000, 0, false}} {
		if k.Live(c.now, c.cutoff) != c.want {
			t.Errorf("key at %d with cut-off %d: %v", c.now, c.cutoff, !c.want)
		}
	}
	for _, state := range []State{"", Suspended, Revoked, Ended, "odd"} {
		k.State = state
		if k.Live(1500, 0) || (&Session{State: state, Expires: 2000}).Live(1500) || (&Grant{State: state}).Live(1500) || (&Identity{State: state}).Live(1500) || (&Credential{State: state}).Live(1500) {
			t.Errorf("the state %q is alive", state)
		}
	}
}

// T23, T25: where a secret may be carried.
func TestPlacementValidate(t *testing.T) {
	for _, p := range []Placement{
		{In: InBearer}, {In: InHeader, Name: "X-Api-Key"}, {In: InHeader, Name: "Authorization", Template: "token {secret}"}, {In: InBasic, Name: "x-access-token"}, {In: InBasic},
		{In: InQuery, Name: "api_key"}, {In: InCookie, Name: "session"},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, p := range []Placement{
		{}, {In: "body"}, {In: InBearer, Name: "x"}, {In: InBearer, Template: "{secret}"}, {In: InHeader},
		{In: InHeader, Name: "Host"}, {In: InHeader, Name: "cookie"}, {In: InHeader, Name: "REFERER"}, {In: InHeader, Name: "User-Agent"}, {In: InHeader, Name: "X-Forwarded-For"}, {In: InHeader, Name: "Proxy-Authorization"},
		{In: InHeader, Name: "Writ-Credential"}, {In: InHeader, Name: "Transfer-Encoding"}, {In: InHeader, Name: "Content-Length"}, {In: InHeader, Name: "X Key"}, {In: InHeader, Name: "X-Key\r\nX"}, {In: InHeader, Name: "X:"},
		{In: InHeader, Name: "X-Key", Template: "token"}, {In: InHeader, Name: "X-Key", Template: "{secret}{secret}"}, {In: InHeader, Name: "X-Key", Template: "a\r\nB: {secret}"}, {In: InHeader, Name: "X-Key", Template: "é{secret}"},
		{In: InBasic, Name: "a:b"}, {In: InBasic, Name: "a\n"}, {In: InBasic, Template: "{secret}"}, {In: InQuery}, {In: InQuery, Name: "a&b"}, {In: InQuery, Name: "a", Template: "{secret}"}, {In: InCookie, Name: "a;b"}, {In: InCookie},
	} {
		wantInvalid(t, string(p.In)+" "+p.Name+" "+p.Template, p.Validate(), "placement")
	}
}

func TestCredentialAndVersionValidate(t *testing.T) {
	app := &Application{Name: "a", Hosts: []string{"a.test", "b.test"}}
	whole := Version{Number: 1, Hosts: []string{"a.test", "b.test"}, Placement: Placement{In: InBearer}}
	if err := whole.Validate(app); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(v *Version){
		"no hosts": func(v *Version) { v.Hosts = nil }, "unsorted": func(v *Version) { v.Hosts = []string{"b.test", "a.test"} }, "foreign host": func(v *Version) { v.Hosts = []string{"c.test"} },
		"no number": func(v *Version) { v.Number = 0 }, "no placement": func(v *Version) { v.Placement = Placement{} },
	} {
		v := whole
		change(&v)
		wantInvalid(t, name, v.Validate(app), "")
	}
	c := Credential{Name: "x", AIUse: AINeedsControls, Triggers: []Trigger{OnLeak}}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(c *Credential){
		"ai_use": func(c *Credential) { c.AIUse = "" }, "triggers": func(c *Credential) { c.Triggers = []Trigger{"some day"} }, "purpose": func(c *Credential) { c.Purpose = "\n" },
		"backup": func(c *Credential) { c.Owner, c.Backup = "idn_1", "idn_1" }, "name": func(c *Credential) { c.Name = "X" },
	} {
		d := c
		change(&d)
		wantInvalid(t, name, d.Validate(), name)
	}
	if got := strings.Join((&Credential{}).Ungoverned(), ", "); got != "owner, issuer, authoriser, revocation trigger" {
		t.Error(got)
	}
}

func TestGrantValidate(t *testing.T) {
	whole := func() *Grant { return &Grant{Rules: []Rule{rule(t, "GET /x")}, Created: 5, Expires: 6} }
	if err := whole().Validate(); err != nil {
		t.Fatal(err)
	}
	for field, changes := range map[string][]func(g *Grant){
		"rules":                  {func(g *Grant) { g.Rules = nil }, func(g *Grant) { g.Rules = make([]Rule, MaxRules+1) }, func(g *Grant) { g.Rules[0].Methods = nil }, func(g *Grant) { g.Rules[0].Methods = []string{"get"} }, func(g *Grant) { g.Rules[0].Host = "A.test" }},
		"conditions.networks":    {func(g *Grant) { g.Conditions.Networks = []string{"10.0.0.1/8"} }},
		"conditions.executables": {func(g *Grant) { g.Conditions.Executables = []string{strings.Repeat("A", 64)} }, func(g *Grant) { g.Conditions.Executables = []string{""} }},
		"conditions.windows": {
			func(g *Grant) { g.Conditions.Windows = []Window{{From: 1, To: 1}} }, func(g *Grant) { g.Conditions.Windows = []Window{{From: 0, To: 1441}} }, func(g *Grant) { g.Conditions.Windows = []Window{{From: 1440, To: 5}} },
			func(g *Grant) { g.Conditions.Windows = []Window{{Days: []int{7}, To: 5}} }, func(g *Grant) { g.Conditions.Windows = []Window{{From: -1, To: 5}} }, func(g *Grant) { g.Conditions.Windows = []Window{{From: 5}} },
		},
		"limits":   {func(g *Grant) { g.Limits.Uses = -1 }, func(g *Grant) { g.Limits.PerMinute = -1 }},
		"expires":  {func(g *Grant) { g.Expires = 5 }},
		"purpose":  {func(g *Grant) { g.Purpose = "a\u2028b" }},
		"triggers": {func(g *Grant) { g.Triggers = []Trigger{""} }},
	} {
		for _, change := range changes {
			g := whole()
			change(g)
			wantInvalid(t, field, g.Validate(), field)
		}
	}
}

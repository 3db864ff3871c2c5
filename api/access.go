package api

import (
	"context"
	"slices"

	"writ.dev/writ"
	"writ.dev/writ/signin"
)

// access says who may call an operation. Each operation declares one of the
// values below, and admit alone enforces it.
type access struct {
	name    string
	roles   []writ.Role // of a key
	session bool        // a session's own token, for what concerns that session
	open    bool        // without a token
}

var (
	// anyone needs no token: health, the public certificate, the words of the API.
	anyone = access{name: "anyone", open: true, session: true, roles: []writ.Role{writ.RoleAdmin, writ.RoleAuditor, writ.RoleMember}}
	// caller is whoever has a token, for questions about the token itself.
	caller = access{name: "caller", session: true, roles: []writ.Role{writ.RoleAdmin, writ.RoleAuditor, writ.RoleMember}}
	// reader sees the organization; a member of it what concerns her.
	reader = access{name: "reader", roles: []writ.Role{writ.RoleAdmin, writ.RoleAuditor, writ.RoleMember}}
	// auditor sees the ledger itself.
	auditor = access{name: "auditor", roles: []writ.Role{writ.RoleAdmin, writ.RoleAuditor}}
	// member acts for what she answers for.
	member = access{name: "member", roles: []writ.Role{writ.RoleAdmin, writ.RoleMember}}
	// admin changes the organization.
	admin = access{name: "admin", roles: []writ.Role{writ.RoleAdmin}}
	// holder is the session that the operation is about, and nobody else.
	holder = access{name: "holder", session: true}
	// memberOrHolder is a member for her own sessions, or the session itself.
	memberOrHolder = access{name: "member or holder", roles: []writ.Role{writ.RoleAdmin, writ.RoleMember}, session: true}
)

// least is the least role that an access lets in, for the API's description.
func (a access) least() string {
	switch {
	case a.open:
		return "none"
	case len(a.roles) == 0:
		return "session"
	case slices.Contains(a.roles, writ.RoleMember):
		return string(writ.RoleMember)
	case slices.Contains(a.roles, writ.RoleAuditor):
		return string(writ.RoleAuditor)
	}
	return string(writ.RoleAdmin)
}

// admit reports why a caller may not call an operation.
func (a access) admit(c *signin.Caller) error {
	if a.open {
		return nil
	}
	if c.Session != nil {
		if a.session {
			return nil
		}
		return writ.Errorf(writ.KindForbidden, "a session's token may not do this").
			WithWhy("it is for the run it belongs to alone").
			WithFix("use an API key")
	}
	if slices.Contains(a.roles, c.Role) {
		return nil
	}
	if len(a.roles) == 0 {
		return writ.Errorf(writ.KindForbidden, "only the session itself may do this").WithFix("use the session's own token")
	}
	return writ.Errorf(writ.KindForbidden, "the role %s may not do this", c.Role).
		WithWhy("it needs the role %s", a.least()).
		WithFix("ask an admin to do it, or for a key with that role")
}

type callerKey struct{}

func withCaller(ctx context.Context, c *signin.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf is who calls; nil only in operations that are open to anyone.
func callerOf(ctx context.Context) *signin.Caller {
	c, _ := ctx.Value(callerKey{}).(*signin.Caller)
	return c
}

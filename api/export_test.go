package api

import (
	"writ.dev/writ"
	"writ.dev/writ/signin"
)

func callerForTest(role writ.Role) *signin.Caller {
	return &signin.Caller{Role: role, Key: &writ.Key{}}
}

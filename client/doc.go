// Package client speaks to a Writ server. It has one method for each operation
// of the HTTP API, and it defines the bodies that go over the wire: the server
// serves these very types, so the two cannot drift apart.
//
//	c, err := client.New(client.Config{Address: "http://localhost:8440", Token: token})
//	s, err := c.StartSession(ctx, client.NewSession{Identity: "agent:claude-pay", For: "2h", Isolation: "none"})
//
// Errors that the server answered with come back as what they were there:
// *writ.Error, with its kind, message, why, fix and field, and for a denial an
// error that writ.KindOf and the command line know as one. What the network
// did is a *writ.Error of kind writ.KindUnavailable.
//
// A string that names a thing (an "identity", an "owner", a path parameter)
// may be its id, a unique beginning of its id, or its name: "ana@acme.dev",
// "agent:claude-pay", "github". Times are RFC 3339 in UTC.
//
// No response carries a secret, except that the text of a new key and the
// token of a new session are shown once, by the call that made them.
package client

// Package wire is HTTP/1.1 (RFC 9110, RFC 9112) for a proxy that hands
// credentials on. Towards the client it reads requests strictly and writes
// responses that cannot be split; towards the upstream it sends requests as
// they were decided about, once, and reads answers as strictly.
//
// Why not net/http's server: that one is built to serve, so it settles on one
// reading where a message has two. It joins folded lines, takes a bare LF for
// CRLF, lets Transfer-Encoding win over Content-Length, takes two equal
// Content-Length fields for one, reads chunk extensions and drops them, and
// forgets how a name was spelled and in which order it came. Each of these is
// a request that another server may read as something else, and the broker
// must not decide about one request and forward another (invariant 5, T14).
// Here a message with two readings is refused with a reason, and the
// connection is closed, since nobody knows where the next message begins.
//
// Layers, from below: Reader parses requests from any stream; Conn adds a
// connection's deadlines, the 100 (Continue) answer, the watch for a client
// that hangs up, and the Response that writes what goes back. Hop-by-hop and
// control fields are taken out by StripRequest and StripResponse.
//
// Transport is the other side: a pool of connections, each used by one
// exchange at a time and without a goroutine of its own. Why not net/http's:
// that one sends a request again when a kept connection breaks, adds fields,
// and writes names in its own spelling and order; and it hands each request
// from goroutine to goroutine, which costs more than the exchange itself.
//
// Deadlines are idle deadlines: every read or write that makes progress renews
// them, so a long upload or a stream of events lives as long as it moves (T41,
// T43). Only the head of a client's request has a fixed one.
//
// A Request and its strings are never reused for another request. A goroutine
// that outlives its request (an upstream transport still reading the body)
// meets its own request or an error, not the next one.
package wire

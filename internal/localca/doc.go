// Package localca is the authority whose certificates the proxy shows to the
// clients it intercepts.
//
// A machine that trusts the root would believe it about any host. So the root
// signs nothing but intermediates, and each of those is constrained, critically
// (RFC 5280, section 4.2.1.10), to hosts that applications have declared: what
// can be minted is what Writ is there to broker, and a client refuses the rest
// by itself, also when the intermediate's key should leak. When the declared
// hosts change, the intermediates concerned are issued anew, with new keys.
// Constraints are sent in every handshake and can be read by the client, so
// hosts are spread over intermediates of a few dozen each, and there is one
// Minter for an organization: none learns of another's hosts.
//
// Leaves live for a day at most (T51). They are not revoked; they run out.
//
// All leaves of one intermediate share one key. A key of its own for each would
// cost 190 µs and protect nothing: they would lie in the same memory, next to
// the intermediate's key, which can mint any of them.
//
// Keys stay in memory. Only the root's can be taken out, by MarshalPKCS8, for
// the caller to seal.
package localca

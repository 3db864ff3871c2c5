// Package dialguard opens the connections of the proxy, and only to where a
// name may lead (T15).
//
// An agent chooses the host, and whoever runs a name server chooses what the
// host resolves to. So a name is resolved once, every address it gives is
// classified after unmapping, and the connection goes to a checked address,
// never to the name: there is no second look-up that could answer otherwise.
// Control repeats the check on the very address the kernel is given.
//
// Addresses of private kinds are refused unless an administrator allows their
// network for the application. Some are refused whatever anybody allows:
// link-local and metadata addresses, where clouds hand out credentials to
// whoever asks; unspecified, multicast and broadcast ones; and Writ's own
// listeners, so that the broker cannot be made to talk to itself.
package dialguard

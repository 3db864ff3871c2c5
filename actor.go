package writ

// Actor is who performs an act on Writ itself: the identity, and the key or
// session it came through.
type Actor struct {
	Identity ID `json:"identity"`
	Via      ID `json:"via,omitempty"`
}

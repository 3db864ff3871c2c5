package broker

// Flying is how many things the registry knows to be in the air, counted once
// for each id that they rest on.
func Flying(b *Broker) int {
	b.flights.mu.Lock()
	defer b.flights.mu.Unlock()
	n := 0
	for _, set := range b.flights.byID {
		n += len(set)
	}
	return n + len(b.flights.byID)
}

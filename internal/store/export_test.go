package store

import "time"

// Deaf returns the store with a bell that is polled once an hour: who waits is
// woken or waits in vain.
func (s *Store) Deaf() *Store {
	s.bell.poll = time.Hour
	return s
}

// Restless returns the store with a bell that is polled that often.
func (s *Store) Restless(poll time.Duration) *Store {
	s.bell.poll = poll
	return s
}

package store

import "time"

// WithChunk returns options whose chunks have n rows.
func (o ImportOptions) WithChunk(n int) ImportOptions {
	o.chunk = n
	return o
}

// Waiting returns the store with separate limits, whose imports wait that long for each
// other.
func (s *Store) Waiting(wait time.Duration, l Limits) *Store {
	s = NewWithLimits(s.q, l)
	s.limits.wait = wait
	return s
}

// KeepFree makes temporary files leave that much of the disk free.
func (s *Store) KeepFree(bytes int64) { s.limits.spool.keep = bytes }

// Used returns what imports use at the moment: places of imports, places for long
// records, bytes of temporary files.
func (s *Store) Used() (runs, wide int, spool int64) {
	return len(s.limits.runs), len(s.limits.wide), s.limits.spool.used.Load()
}

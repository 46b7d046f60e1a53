package store

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// exports holds the running exports, the oldest first.
type exports struct {
	mu    sync.Mutex
	begun []*time.Time
}

// begin returns the context of an export, and the function that must be called at its end.
// The remaining rows are still read if that context is not cancelled first.
func (e *exports) begin(ctx context.Context, o ExportOptions) (context.Context, func()) {
	now := time.Now()
	e.mu.Lock()
	e.begun = append(e.begun, &now)
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, DefaultExportTimeout))
	return ctx, func() {
		cancel()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.begun = slices.DeleteFunc(e.begun, func(b *time.Time) bool { return b == &now })
	}
}

// OldestExport returns how long the oldest export has been running, or 0 if none is. The
// age of its snapshot is the same, minus the wait for a connection.
func (s *Store) OldestExport() time.Duration {
	s.exports.mu.Lock()
	defer s.exports.mu.Unlock()
	if len(s.exports.begun) == 0 {
		return 0
	}
	return time.Since(*s.exports.begun[0])
}

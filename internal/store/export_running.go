package store

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// exports are those that run, the oldest first.
type exports struct {
	mu    sync.Mutex
	begun []*time.Time
}

// begin returns the context of an export, and the function that must be called at its
// end. Rows that are left before their end are read to it unless their context ends.
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

// OldestExport returns how long the oldest export has been running, or 0 if there
// is none. Its snapshot is as old, less what it waited for a connection.
func (s *Store) OldestExport() time.Duration {
	s.exports.mu.Lock()
	defer s.exports.mu.Unlock()
	if len(s.exports.begun) == 0 {
		return 0
	}
	return time.Since(*s.exports.begun[0])
}

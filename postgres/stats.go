package postgres

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Stats counts the statements that ran with one context, such as that of a request. It is
// safe for concurrent use.
type Stats struct {
	mu     sync.Mutex
	time   time.Duration
	total  int
	counts []Count // few: a request runs two or three statements
	budget int     // how often one statement may run; 0 means no limit
	outer  *Stats  // of the context that this one is derived from; may be nil
}

// Count is how often a statement ran.
type Count struct {
	Statement string // the query's name, or commit
	Times     int
}

type statsKey struct{}

// Refuse makes a statement fail with ErrQueryBudget if it has already run the given number
// of times. It is for development, so that an N+1 query fails where it is written instead
// of becoming slow as the list grows. Queued statements of a Pipeline are counted but never
// fail, because they share a round trip. The default is 0, which means no limit.
func (s *Stats) Refuse(times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget = times
}

// Counts returns how often each statement ran, in the order of their first runs.
func (s *Stats) Counts() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.counts)
}

// WithStats returns a context whose statements are counted, and the counts. If ctx has
// Stats, the statements are counted there too.
func WithStats(ctx context.Context) (context.Context, *Stats) {
	s := &Stats{}
	s.outer, _ = ctx.Value(statsKey{}).(*Stats)
	return context.WithValue(ctx, statsKey{}, s), s
}

// Total returns how many statements ran and their total time.
func (s *Stats) Total() (int, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, s.time
}

// Most returns the statement that ran most often, and how often. In a request that runs a
// statement once for each row of a list, this is the N+1 query.
func (s *Stats) Most() (statement string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.counts {
		if c.Times > times || c.Times == times && c.Statement < statement {
			statement, times = c.Statement, c.Times
		}
	}
	return statement, times
}

func (s *Stats) add(statement string, d time.Duration) {
	if s.outer != nil {
		s.outer.add(statement, d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	s.time += d
	for i := range s.counts {
		if s.counts[i].Statement == statement {
			s.counts[i].Times++
			return
		}
	}
	s.counts = append(s.counts, Count{statement, 1})
}

// addAll counts statements that took the given time together.
func (s *Stats) addAll(counts []Count, took time.Duration) {
	for _, c := range counts {
		for range c.Times {
			s.add(c.Statement, took)
			took = 0
		}
	}
}

// refuses returns the budget that the statement has used up, or 0.
func (s *Stats) refuses(statement string) int {
	if s.outer != nil {
		if budget := s.outer.refuses(statement); budget > 0 {
			return budget
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.budget > 0 && slices.ContainsFunc(s.counts, func(c Count) bool { return c.Statement == statement && c.Times >= s.budget }) {
		return s.budget
	}
	return 0
}

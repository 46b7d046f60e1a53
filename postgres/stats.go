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
	budget int     // most runs of one statement; 0 is no limit
	outer  *Stats  // those of the context that this one is made of; may be nil
}

// Count is how often a statement ran.
type Count struct {
	Statement string // the query's name; that of a COMMIT is commit
	Times     int
}

type statsKey struct{}

// Refuse makes a statement fail with ErrQueryBudget if it has run times times. It is
// for development: an N+1 query fails where it is written, instead of becoming slow
// with the size of a list. Queued statements of a Pipeline are counted and never fail,
// because they need no round trip each. 0, the default, refuses nothing.
func (s *Stats) Refuse(times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget = times
}

// Counts returns how often each statement ran, in the order in which they ran first.
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

// refuses returns how often the statement may run if it ran so often, and 0 otherwise.
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

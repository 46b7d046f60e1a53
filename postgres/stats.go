package postgres

import (
	"context"
	"sync"
	"time"
)

// Stats counts the statements that ran under one context: those of a request.
// It is safe for concurrent use.
type Stats struct {
	mu     sync.Mutex
	time   time.Duration
	total  int
	counts []statementCount // few: a request runs two or three statements
}

type statementCount struct {
	statement string
	times     int
}

type statsKey struct{}

// WithStats returns a context whose statements are counted, and the counts.
func WithStats(ctx context.Context) (context.Context, *Stats) {
	s := &Stats{}
	return context.WithValue(ctx, statsKey{}, s), s
}

// Total returns how many statements ran and how long they took together.
func (s *Stats) Total() (int, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total, s.time
}

// Most returns the statement that ran most often, and how often: in a request
// that asks once for each row of a list, the N+1.
func (s *Stats) Most() (statement string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.counts {
		if c.times > times || c.times == times && c.statement < statement {
			statement, times = c.statement, c.times
		}
	}
	return statement, times
}

func (s *Stats) add(statement string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total++
	s.time += d
	for i := range s.counts {
		if s.counts[i].statement == statement {
			s.counts[i].times++
			return
		}
	}
	s.counts = append(s.counts, statementCount{statement, 1})
}

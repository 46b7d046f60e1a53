package postgres

import "context"

// sessions are those of the calls of a batch, and the one that stands for all
// of them: it has seen what any of them has.
type sessions struct {
	all    *Session
	own    []*Session
	blinds []uint64 // how often each was blinded when the batch left
}

// sessions returns the context of a statement for all of the calls. It holds
// nothing of any caller's but what he has seen.
func (l *lane) sessions(calls []*call) (context.Context, *sessions) {
	ctx, s := context.Background(), &sessions{}
	if len(l.router.replicas.all) == 0 {
		return ctx, s
	}
	for _, c := range calls {
		own := sessionOf(c.ctx)
		if own == nil {
			continue
		}
		if s.all == nil {
			ctx, s.all = WithSession(ctx)
		}
		s.own, s.blinds = append(s.own, own), append(s.blinds, own.blinded.Load())
		s.all.advance(lsn(own.seen.Load()))
		if own.blind() {
			s.all.blinded.Store(1)
		}
	}
	return ctx, s
}

// learn tells each session what the one for all has seen.
func (s *sessions) learn() {
	for i, own := range s.own {
		if s.all.blind() {
			own.blinded.Add(1)
			continue
		}
		own.advance(lsn(s.all.seen.Load()))
		// Of one that was blind it is known that the primary answered.
		raise(&own.seeing, s.blinds[i])
	}
}

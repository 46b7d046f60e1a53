package postgres

import "context"

// sessions are those of the calls of a batch, and the one that stands for all
// of them: it has seen what any of them has.
type sessions struct {
	all    *Session
	own    []*Session
	blinds []uint64 // how often each was blinded when the batch left
	leads  []lead   // of each, when the batch left
}

// sessions returns the context of a statement for all of the calls. It holds
// nothing of any caller's but what he has seen.
func (l *lane) sessions(calls []*call) (context.Context, *sessions) {
	ctx, s := context.Background(), &sessions{}
	if len(l.router.replicas.all) == 0 {
		return ctx, s
	}
	for _, c := range calls {
		own := c.session
		if own == nil {
			continue
		}
		if s.all == nil {
			ctx, s.all = WithSession(ctx)
		}
		seen, blind := own.state()
		s.own, s.blinds = append(s.own, own), append(s.blinds, own.blinds())
		s.all.advance(seen)
		if blind {
			s.all.blindOnce()
		}
		s.leads = append(s.leads, own.leading())
		s.all.leads(own.leading())
	}
	return ctx, s
}

// learn tells each session what the one for all has seen.
func (s *sessions) learn() {
	if s.all == nil {
		return
	}
	seen, blind := s.all.state()
	leads := s.all.leading()
	for i, own := range s.own {
		own.leads(leads)
		if !leads.open() {
			own.met(s.leads[i])
		}
		if blind {
			own.blindOnce()
			continue
		}
		own.advance(seen)
		// The primary has answered for a session that was blind.
		own.sees(s.blinds[i])
	}
}

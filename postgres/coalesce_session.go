package postgres

import "context"

// batchSessions are those of the calls of a batch, and the one that stands for all
// of them: it has seen what any of them has.
type batchSessions struct {
	merged *Session
	own    []*Session
	epochs []uint64 // how often each was blinded when the batch left
	leads  []lead   // of each, when the batch left
}

// mergeSessions returns the context of a statement for all of the calls. It holds
// nothing of any caller's but what he has seen.
func (co *coalescer) mergeSessions(calls []*call) (context.Context, *batchSessions) {
	ctx, s := context.Background(), &batchSessions{}
	if len(co.router.replicas.all) == 0 {
		return ctx, s
	}
	for _, c := range calls {
		own := c.session
		if own == nil {
			continue
		}
		if s.merged == nil {
			ctx, s.merged = WithSession(ctx)
		}
		seen, unknown := own.state()
		s.own, s.epochs = append(s.own, own), append(s.epochs, own.currentEpoch())
		s.merged.advance(seen)
		if unknown {
			s.merged.markUnknown()
		}
		s.leads = append(s.leads, own.currentLead())
		s.merged.mergeLead(own.currentLead())
	}
	return ctx, s
}

// learn tells each session what the one for all has seen.
func (s *batchSessions) learn() {
	if s.merged == nil {
		return
	}
	seen, unknown := s.merged.state()
	leads := s.merged.currentLead()
	for i, own := range s.own {
		own.mergeLead(leads)
		if !leads.open() {
			own.clearLead(s.leads[i])
		}
		if unknown {
			own.markUnknown()
			continue
		}
		own.advance(seen)
		// The primary has answered for a session that was unknown.
		own.markKnown(s.epochs[i])
	}
}

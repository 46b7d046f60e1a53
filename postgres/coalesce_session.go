package postgres

import "context"

// batchSessions are the sessions of a batch's calls. merged has seen everything that any of
// them has.
type batchSessions struct {
	merged *Session
	own    []*Session
	epochs []uint64 // of each session, when the batch was sent
	leads  []lead   // of each session, when the batch was sent
}

// mergeSessions returns the context of a statement for all of the calls. It contains
// nothing of the callers except what their sessions have seen.
func (co *coalescer) mergeSessions(calls []*call) (context.Context, *batchSessions) {
	ctx, s := context.Background(), &batchSessions{}
	if !co.router.replicas.expected {
		return ctx, s
	}
	for _, c := range calls {
		if c.session != nil {
			ctx = s.add(ctx, c.session)
		}
	}
	return ctx, s
}

// add merges what a session has seen, and returns ctx with the merged session.
func (s *batchSessions) add(ctx context.Context, own *Session) context.Context {
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
	return ctx
}

// learn advances each session to the position and the lead of the merged one.
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
		// The primary has answered, so the position of a session is known again, even if it was
		// unknown before.
		own.markKnown(s.epochs[i])
	}
}

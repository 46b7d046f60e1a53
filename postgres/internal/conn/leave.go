package conn

import "time"

// leaveGrace is how long a statement may continue on a server that has been replaced. A
// running statement finishes within it. A waiting one, such as a COMMIT that waits for
// the promoted standby, would wait until its deadline and hold its pool slot.
const leaveGrace = 250 * time.Millisecond

// Leave replaces the connections of the pool. Those that Hooks.Outdated reports are
// closed after leaveGrace. An uncommitted transaction runs again on the new primary. A
// COMMIT that was sent has an unknown outcome, which its marker on the new primary
// resolves.
func (p *Pool) Leave() {
	p.reset()
	time.AfterFunc(leaveGrace, func() {
		for _, s := range p.outdated() {
			_ = s.net.Close()
			p.hung.remove(s)
		}
	})
}

func (p *Pool) outdated() (list []*state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.states {
		if p.Outdated(s.pg) {
			list = append(list, s)
		}
	}
	return list
}

// enlist registers a connection for Leave until delist is called.
func (p *Pool) enlist(s *state) {
	if p.Outdated != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.states[s] = struct{}{}
	}
}

func (p *Pool) delist(s *state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.states, s)
}

package conn

import "time"

// leaveGrace is how long a statement may go on on a server that has been
// replaced. One that runs ends within it. One that waits there, such as a COMMIT
// for the standby that was promoted, would wait until its deadline and hold its
// place in the pool.
const leaveGrace = 250 * time.Millisecond

// Leave replaces the connections of the pool. Those that Hooks.Outdated reports are
// closed after leaveGrace. A transaction that was not committed runs again on the new
// primary; a COMMIT that was sent is in doubt, and its marker tells on the new primary.
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

// enlist keeps a connection for Leave until delist.
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

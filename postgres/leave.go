package postgres

import "time"

// leaveGrace is how long a statement may go on on a server that has been
// replaced. One that runs ends within it. One that waits there, such as a COMMIT
// for the standby that was promoted, would wait until its deadline and hold its
// place in the pool.
const leaveGrace = 250 * time.Millisecond

// leave replaces the connections of the pool. Those to a server below the floor are closed after
// leaveGrace. A transaction that was not committed runs again on the new primary;
// a COMMIT that was sent is in doubt, and its marker tells on the new primary.
func (k *keeper) leave() {
	k.reset()
	time.AfterFunc(leaveGrace, func() {
		for _, l := range k.outdated() {
			_ = l.net.Close()
			k.hung.remove(l)
		}
	})
}

func (k *keeper) outdated() (list []*link) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for l := range k.links {
		if k.hosts.outdated(l.pg) {
			list = append(list, l)
		}
	}
	return list
}

// enlist keeps a connection for leave until delist.
func (k *keeper) enlist(l *link) {
	if k.hosts != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.links[l] = struct{}{}
	}
}

func (k *keeper) delist(l *link) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.links, l)
}

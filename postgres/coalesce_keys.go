package postgres

import "github.com/jackc/pgx/v5"

// keys are the rows that calls of a coalesced UPDATE or DELETE change. Of the calls of one row,
// one is queued or running, and the others wait for it in their order. So a batch has at most
// one call of a row, and a row that another transaction has locked costs one connection.
//
// Keys only save work. A call whose row the shared statement does not find, or finds locked,
// runs individually. So the answers are right even if two keys that differ here are equal in
// PostgreSQL.
type keys struct {
	params []int // the parameters that identify a row; nil if calls are not kept apart

	// Guarded by coalescer.mu.
	waiting map[any][]*call // by key: the calls that wait for a queued or running one
	size    int             // of all lists together
}

func newKeys(many *statement) keys {
	k := keys{waiting: map[any][]*call{}}
	for _, column := range many.Key {
		k.params = append(k.params, column.Param)
	}
	return k
}

// of returns the key of a call, or nil if its arguments cannot be compared. valid is false if
// PostgreSQL would reject it.
func (k *keys) of(args []any) (key any, valid bool) {
	own := make([]any, len(k.params))
	for i, param := range k.params {
		if param >= len(args) {
			return nil, true // the single statement reports the missing argument
		}
		own[i] = args[param]
	}
	return keyOf(own)
}

// enter reports whether a call may be queued. If another call of its row is queued or running,
// the call waits until that one leaves.
func (k *keys) enter(c *call) bool {
	if k.params == nil || c.key == nil {
		return true
	}
	others, taken := k.waiting[c.key]
	if taken {
		k.size++
		others = append(others, c)
	}
	k.waiting[c.key] = others
	return !taken
}

// leave frees the row of a call. It returns the next call of that row, or nil, and how many
// calls it has dropped because their callers have gone away.
func (k *keys) leave(c *call) (next *call, dropped int) {
	if k.params == nil || c.key == nil {
		return nil, 0
	}
	others := k.waiting[c.key]
	for len(others) > 0 && next == nil {
		if others[0].state.Load() == callQueued {
			next = others[0]
		} else {
			dropped++
		}
		others = others[1:]
		k.size--
	}
	if k.waiting[c.key] = others; next == nil {
		delete(k.waiting, c.key)
	}
	return next, dropped
}

// dropCancelled removes waiting calls whose callers have gone away, and returns their number.
func (k *keys) dropCancelled() (dropped int) {
	for key, others := range k.waiting {
		kept := others[:0]
		for _, c := range others {
			if c.state.Load() == callQueued {
				kept = append(kept, c)
			}
		}
		clear(others[len(kept):])
		k.waiting[key] = kept
		dropped += len(others) - len(kept)
	}
	k.size -= dropped
	return dropped
}

// release frees the row of a call and queues the next call of that row. co.mu is locked.
func (co *coalescer) release(c *call) {
	next, dropped := co.keys.leave(c)
	co.outstanding.Add(-int64(dropped))
	if next != nil {
		co.queue = append(co.queue, next)
	}
}

// ended ends the calls of a batch, except those that change a row and now run individually.
// Their callers end them by returned.
func (co *coalescer) ended(calls []*call) {
	if co.keys.params == nil {
		co.outstanding.Add(-int64(len(calls)))
		return
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	for _, c := range calls {
		if !c.handedOver {
			co.outstanding.Add(-1)
			co.release(c)
		}
	}
}

// returned ends a call that its batch has left to its caller. If nothing else is queued or
// running, the next call of its row starts without a batch, because no call could join it.
func (co *coalescer) returned(c *call) {
	if co.keys.params == nil {
		return
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	co.outstanding.Add(-1)
	co.release(c)
	if len(co.queue) == 1 && co.running.Load() == 0 && co.queue[0].state.CompareAndSwap(callQueued, callSent) {
		runIndividually(co.queue)
		clear(co.queue)
		co.queue = co.queue[:0]
		return
	}
	co.startWork()
}

// returningRow is the row of a call that runs individually. It frees the call's row once it
// has been read.
type returningRow struct {
	pgx.Row
	of *call
}

func (r returningRow) Scan(dest ...any) error {
	defer r.of.statement.coalescer.returned(r.of)
	return r.Row.Scan(dest...)
}

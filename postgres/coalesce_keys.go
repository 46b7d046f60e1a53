package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5"
)

// keys are the rows that calls of a coalesced UPDATE or DELETE change. Of the calls of one row,
// one is queued or running, and the others wait for it in their order. So a batch has at most
// one call of a row, and a row that another transaction has locked costs one connection.
//
// If the calls of one row are all that is outstanding, no batch can form. They then run
// individually, several at a time, so that the server's lock queue always has the next one (see
// pass).
//
// Keys only save work. A call whose row the shared statement does not find, or finds locked,
// runs individually. So the answers are right even if two keys that differ here are equal in
// PostgreSQL.
type keys struct {
	params []int // the parameters that identify a row; nil if calls are not kept apart

	// Guarded by coalescer.mu.
	rows    map[any]rowCalls // by key
	size    int              // the number of waiting calls
	passing int64            // calls that pass others of their row
}

// rowCalls are the calls of one row.
type rowCalls struct {
	active  int     // queued or running; at most one is queued or in a batch
	allowed int     // how many may be active
	waiting []*call // for one of them to end
}

func newKeys(many *statement) keys {
	k := keys{rows: map[any]rowCalls{}}
	for _, column := range many.Key {
		k.params = append(k.params, column.Param)
	}
	return k
}

// of returns the key of a call, or nil if its arguments cannot be compared. valid is false if
// PostgreSQL would reject it.
func (k *keys) of(args []any) (key any, valid bool) {
	if len(k.params) == 1 && k.params[0] < len(args) {
		return keyOf(args[k.params[0]:][:1])
	}
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
	row := k.rows[c.key]
	first := row.active == 0
	if first {
		row.active, row.allowed = 1, 1
	} else {
		row.waiting = append(row.waiting, c)
		k.size++
	}
	k.rows[c.key] = row
	return first
}

// next makes the next waiting call of a row active and returns it, or nil. It also returns how
// many calls it has dropped because their callers have gone away.
func (k *keys) next(key any) (next *call, dropped int) {
	row := k.rows[key]
	for len(row.waiting) > 0 && next == nil {
		if row.waiting[0].state.Load() == callQueued {
			next = row.waiting[0]
			row.active++
		} else {
			dropped++
		}
		row.waiting = row.waiting[1:]
		k.size--
	}
	k.rows[key] = row
	return next, dropped
}

// dropCancelled removes waiting calls whose callers have gone away, and returns their number.
func (k *keys) dropCancelled() (dropped int) {
	for key, row := range k.rows {
		kept := row.waiting[:0]
		for _, c := range row.waiting {
			if c.state.Load() == callQueued {
				kept = append(kept, c)
			}
		}
		clear(row.waiting[len(kept):])
		dropped += len(row.waiting) - len(kept)
		row.waiting = kept
		k.rows[key] = row
	}
	k.size -= dropped
	return dropped
}

// release ends a call of a row. If no other one is active, it queues the next. co.mu is locked.
func (co *coalescer) release(c *call) {
	if co.keys.params == nil || c.key == nil {
		return
	}
	row := co.keys.rows[c.key]
	row.active--
	if row.active > 0 || len(row.waiting) > 0 {
		co.keys.rows[c.key] = row
	}
	if row.active > 0 {
		return
	}
	if len(row.waiting) > 0 {
		if next := co.nextOf(c.key); next != nil {
			co.queue = append(co.queue, next)
			return
		}
	}
	delete(co.keys.rows, c.key)
}

// nextOf makes the next waiting call of a row active and returns it, or nil. co.mu is locked.
func (co *coalescer) nextOf(key any) *call {
	next, dropped := co.keys.next(key)
	co.outstanding.Add(-int64(dropped))
	return next
}

// pass runs more calls of a row individually, while no call is queued that could share a
// batch. Each call that succeeds allows one more, and after a failed one only one may run. So
// calls of a row that another transaction keeps locked take one connection. If it is locked
// later, they take at most passLimit, as do all passing calls of all rows together. co.mu is
// locked.
func (co *coalescer) pass(key any, ok bool) {
	row, known := co.keys.rows[key]
	if !known || key == nil {
		return
	}
	if row.allowed = min(row.allowed+1, int(co.passLimit)); !ok {
		row.allowed = 1
	}
	co.keys.rows[key] = row
	for range row.allowed - row.active {
		if co.keys.passing >= co.passLimit {
			return
		}
		next := co.nextOf(key)
		if next == nil {
			return
		}
		if !next.state.CompareAndSwap(callQueued, callSent) { // its caller has just gone away
			co.outstanding.Add(-1)
			co.release(next)
			continue
		}
		next.passes = true
		co.keys.passing++
		runIndividually([]*call{next})
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

// returned ends a call that its batch has left to its caller, with its error. If nothing else is
// queued or in a batch, the next calls of its row start without a batch, because no call could
// join it.
func (co *coalescer) returned(c *call, err error) {
	if co.keys.params == nil {
		return
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	if c.passes {
		co.keys.passing--
	}
	co.outstanding.Add(-1)
	co.release(c)
	if co.running.Load() == 0 {
		if len(co.queue) == 1 && co.queue[0].state.CompareAndSwap(callQueued, callSent) {
			runIndividually(co.queue)
			clear(co.queue)
			co.queue = co.queue[:0]
		}
		if len(co.queue) == 0 {
			co.pass(c.key, err == nil || errors.Is(err, ErrNotFound))
		}
	}
	co.startWork()
}

// returningRow is the row of a call that runs individually. It frees the call's row once it
// has been read.
type returningRow struct {
	pgx.Row
	of *call
}

func (r returningRow) Scan(dest ...any) (err error) {
	// Deferred, because scanning may panic.
	defer func() { r.of.statement.coalescer.returned(r.of, err) }()
	return r.Row.Scan(dest...)
}

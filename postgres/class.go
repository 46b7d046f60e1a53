package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// DefaultClass is the class of a statement whose SQL file has no @class. It may use the
// whole pool.
const DefaultClass = "default"

const (
	// defaultShare is the share of a class that POOL_CLASSES does not name. With half of
	// the pool, bulk work never makes point reads wait, and two of its statements can still
	// run on the smallest default pool.
	defaultShare = "50%"

	// queuePerConn bounds the queue of a class, per connection of its share. A queue that
	// cannot be served within POOL_ACQUIRE_TIMEOUT only delays the error. For the 16th call
	// to be served, the calls before it must take less than 300 ms each.
	queuePerConn = 16

	// leastShared is the pool size from which one connection is reserved for other statements
	// if a single statement uses all the rest. In a pool of two, the reserved connection would
	// be half of the pool.
	leastShared = 3
)

// className matches the values that the directive @class accepts.
var className = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// classLimits returns how many connections of a pool each class of PoolClasses may use at a
// time.
func classLimits(c Config) (map[string]int, error) {
	limits := map[string]int{}
	for _, class := range slices.Sorted(maps.Keys(c.PoolClasses)) {
		switch {
		case class == DefaultClass:
			return nil, errors.New("POOL_CLASSES has a share for class default, which may use the whole pool: remove it")
		case !className.MatchString(class):
			return nil, fmt.Errorf("POOL_CLASSES names the class %q: use lower-case letters, digits and _, as in @class", class)
		}
		limit, ok := shareOf(c.PoolClasses[class], c.MaxConns)
		if !ok {
			return nil, fmt.Errorf("POOL_CLASSES gives class %s the share %q: set a percentage of the pool or a number of connections, such as %[1]s=50%% or %[1]s=2",
				class, c.PoolClasses[class])
		}
		limits[class] = limit
	}
	return limits, nil
}

// shareOf converts a share to a number of connections of a pool. It is at least one, and never
// all of them.
func shareOf(share string, conns int32) (limit int, ok bool) {
	text, percent := strings.CutSuffix(share, "%")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || percent && n > 100 {
		return 0, false
	}
	if percent {
		n = max(1, int(conns)*n/100)
	}
	return min(n, int(conns)-1), true
}

// bulkhead limits each class of work to its share of one pool, and reserves the pool's last
// connection for class default. Within class default, no single read may use that connection
// either.
type bulkhead struct {
	conns  int
	limits map[string]int

	// reads has a semaphore for each declared read of class default. It admits one call fewer
	// than the pool has connections. If one call of a read blocks, for example on a lock on its
	// table, usually all calls of it block. Writes have no semaphore, because they wait for the
	// disk in COMMIT. In a pool of four, reserving a connection would cost a quarter of their
	// throughput.
	reads map[*statement]*semaphore.Weighted

	// The calls of class default, which queue in the pool itself. All statements update these
	// counters, so they need no lock.
	defaultUsed    atomic.Int64 // including calls that wait for the pool
	defaultRefused atomic.Uint64

	mu      sync.Mutex
	shared  int // connections that classes other than default use together
	classes map[string]*class
	queue   []*classWaiter // of all classes, oldest first
}

// class is one class of work on one pool.
type class struct {
	name    string
	limit   int
	used    int
	waiting int
	refused uint64
}

// classWaiter is a call that waits for a connection of its class's share.
type classWaiter struct {
	class    *class
	admitted chan struct{} // closed when the call is admitted
}

// newBulkhead returns the bulkhead of a pool. The configuration must be valid. It creates
// the classes of all declared statements, so that their metrics exist from the start.
func newBulkhead(cfg Config, statements *registry) *bulkhead {
	limits, _ := classLimits(cfg)
	b := &bulkhead{conns: int(cfg.MaxConns), limits: limits, classes: map[string]*class{}, reads: map[*statement]*semaphore.Weighted{}}
	for name := range limits {
		b.of(name)
	}
	for _, s := range statements.known {
		switch {
		case s.Class != DefaultClass:
			b.of(s.Class)
		case s.Route == Replica && b.conns >= leastShared:
			b.reads[s] = semaphore.NewWeighted(int64(b.conns - 1))
		}
	}
	return b
}

// of returns the class with that name.
func (b *bulkhead) of(name string) *class {
	c := b.classes[name]
	if c == nil {
		limit, named := b.limits[name]
		if !named {
			limit, _ = shareOf(defaultShare, int32(b.conns))
		}
		c = &class{name: name, limit: limit}
		b.classes[name] = c
	}
	return c
}

// admit reports whether the class may take another connection now. If not, wait returns
// when it may. Each admission requires a leave.
func (b *bulkhead) admit(name string) bool {
	if name == DefaultClass {
		b.defaultUsed.Add(1)
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.of(name)
	if c.waiting > 0 || !b.admits(c) {
		return false
	}
	b.take(c)
	return true
}

// wait returns nil once the class may take another connection, or an error if it may not.
func (b *bulkhead) wait(ctx context.Context, name string) error {
	b.mu.Lock()
	c := b.of(name)
	if c.waiting == 0 && b.admits(c) {
		b.take(c)
		b.mu.Unlock()
		return nil
	}
	if c.limit == 0 || c.waiting >= queuePerConn*c.limit {
		defer b.mu.Unlock()
		return b.refuse(c)
	}
	w := &classWaiter{class: c, admitted: make(chan struct{})}
	b.queue = append(b.queue, w)
	c.waiting++
	b.mu.Unlock()
	select {
	case <-w.admitted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.queue, w)
	if i < 0 { // it was admitted at the same moment
		return nil
	}
	b.queue = slices.Delete(b.queue, i, i+1)
	c.waiting--
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", b.refuse(c), ctx.Err())
	}
	return ctx.Err()
}

// waitRead returns nil once another call of a read may take a connection, or an error if it
// may not. read is the semaphore of the read.
func (b *bulkhead) waitRead(ctx context.Context, read *semaphore.Weighted) error {
	err := read.Acquire(ctx, 1)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: it has %d of %d connections, and one is reserved for other statements: find what it waits for, or raise POOL_MAX_CONNS: %w",
			errClass, b.conns-1, b.conns, err)
	}
	return err
}

// tryEnter admits a call that must not wait, or returns an error. It takes precedence over
// waiting calls.
func (b *bulkhead) tryEnter(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.of(name)
	if !b.admits(c) {
		return b.refuse(c)
	}
	b.take(c)
	return nil
}

// leave is called after a connection of the class has been returned to the pool.
func (b *bulkhead) leave(name string) {
	if name == DefaultClass {
		b.defaultUsed.Add(-1)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(name).used--
	b.shared--
	for i, w := range b.queue {
		if b.admits(w.class) {
			b.queue = slices.Delete(b.queue, i, i+1)
			w.class.waiting--
			b.take(w.class)
			close(w.admitted)
			return
		}
	}
}

// admits reports whether the class has a connection left in its share, and in the share
// that all classes except default have together.
func (b *bulkhead) admits(c *class) bool { return c.used < c.limit && b.shared < b.conns-1 }

func (b *bulkhead) take(c *class) {
	c.used++
	b.shared++
}

// errNotSpare: no connection is free for a transaction that must not wait.
var errNotSpare = errors.New("no connection is free now, or others wait for it")

// errClass: the share of a class of work, or of a statement, is in use.
var errClass = errors.New("its share of the pool is in use")

func (b *bulkhead) refuse(c *class) error {
	c.refused++
	if c.limit == 0 {
		return fmt.Errorf("class %s: %w: the only connection of the pool is reserved for class default: set POOL_MAX_CONNS to 2 or more", c.name, errClass)
	}
	return fmt.Errorf("class %s: %w: %d of %d connections, and %d calls wait: find the statements that hold them, or raise POOL_CLASSES or POOL_MAX_CONNS",
		c.name, errClass, c.used, c.limit, c.waiting)
}

// noConnection counts a call that its class admitted but that found the pool full.
func (b *bulkhead) noConnection(name string) {
	if name == DefaultClass {
		b.defaultRefused.Add(1)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(name).refused++
}

// snapshot returns the current state of the classes.
func (b *bulkhead) snapshot() []ClassState {
	b.mu.Lock()
	defer b.mu.Unlock()
	// Class default cannot use connections that the others hold.
	used := int(b.defaultUsed.Load())
	most := max(0, b.conns-b.shared)
	list := []ClassState{{
		Name: DefaultClass, Limit: b.conns, Used: min(used, most), Waiting: max(0, used-most), Refused: b.defaultRefused.Load(),
	}}
	for _, name := range slices.Sorted(maps.Keys(b.classes)) {
		c := b.classes[name]
		list = append(list, ClassState{Name: name, Limit: c.limit, Used: c.used, Waiting: c.waiting, Refused: c.refused})
	}
	return list
}

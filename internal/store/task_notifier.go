package store

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// tasksChannel is the channel of AnnounceTasks in queries/task.sql.
const tasksChannel = "quern_tasks"

const (
	// claimPoll is how often a waiting claim queries by itself, to find tasks that became
	// due, leases that expired, and tasks that were announced while no process listened.
	claimPoll = time.Second

	// announcePause is the minimum time between two announcements of a process. Tasks that
	// are created in between share the next one.
	announcePause = 20 * time.Millisecond
)

// taskNotifier wakes waiting claims. Claims of the same names form a queue, of which one is
// woken at a time. If a woken claim found as many tasks as it asked for, it wakes the next
// one. So a task costs two claims for each queue, and not one for each waiting claim.
type taskNotifier struct {
	name     func() string // of the process, to recognize its own announcements
	poll     time.Duration // plus or minus a fifth
	announce chan struct{} // capacity 1; other processes must be notified
	closed   chan struct{} // claims must not wait any more
	close    func()

	mu     sync.Mutex
	queues map[string]*queue // by their names
}

// queue has the claims of some names. It exists as long as one of them does, from before
// its first query on, so that no wake-up is lost between a query and a wait.
type queue struct {
	claimers int
	wakeup   chan struct{} // capacity 1; a claim must query
	claims   claimGroup
}

func newTaskNotifier() *taskNotifier {
	n := &taskNotifier{
		name: sync.OnceValue(rand.Text), poll: claimPoll,
		announce: make(chan struct{}, 1), closed: make(chan struct{}), queues: make(map[string]*queue),
	}
	n.close = sync.OnceFunc(func() { close(n.closed) })
	return n
}

// join adds a claim of the given names, or of any, until leave is called.
func (n *taskNotifier) join(names []string) (q *queue, leave func()) {
	key := strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), "\x00")
	n.mu.Lock()
	defer n.mu.Unlock()
	if q = n.queues[key]; q == nil {
		q = &queue{wakeup: make(chan struct{}, 1)}
		n.queues[key] = q
	}
	q.claimers++
	return q, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if q.claimers--; q.claimers == 0 {
			delete(n.queues, key)
		}
	}
}

// wakeAll wakes one claim of each queue. It does not check the names of new tasks, because
// a queue exists only while its claims find nothing.
func (n *taskNotifier) wakeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.queues {
		q.wake()
	}
}

// wake wakes one claim of the queue, or the next one that begins to wait.
func (q *queue) wake() { signal(q.wakeup) }

// notified handles a notification of the Listener.
func (n *taskNotifier) notified(payload string, _ bool) {
	if payload != n.name() {
		n.wakeAll()
	}
}

// wait returns true when it is time to query again. It returns false if the given time has
// passed, ctx is cancelled or the notifier is closed.
func (n *taskNotifier) wait(ctx context.Context, q *queue, most time.Duration) bool {
	if most <= 0 {
		return false
	}
	timer := time.NewTimer(min(most, n.poll*4/5+mathrand.N(n.poll*2/5)))
	defer timer.Stop()
	select {
	case <-q.wakeup:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-n.closed:
	}
	return false
}

// signal puts a token into a channel of capacity 1, unless it has one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

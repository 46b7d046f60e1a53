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

// tasksChannel is where AnnounceTasks in queries/task.sql notifies.
const tasksChannel = "quern_tasks"

const (
	// claimPoll is how often a claimer that waits looks for itself: for tasks
	// that became due, for leases that ran out, and for tasks that were
	// announced while no process listened.
	claimPoll = time.Second

	// announcePause is the least time between two announcements of a process. Tasks
	// that are created in between share the next one.
	announcePause = 20 * time.Millisecond
)

// taskNotifier wakes claimers that wait for tasks. Those that claim the same names are a
// queue, of which one is woken at a time: a claimer that was woken and found as
// much as it asked for wakes the next. So a task costs two claims for each queue
// and not one for each claimer that waits.
type taskNotifier struct {
	name     func() string // of the process, to know its own announcements
	poll     time.Duration // give or take a fifth
	announce chan struct{} // of one: other processes must be notified
	closed   chan struct{} // claimers must not wait any more
	close    func()

	mu     sync.Mutex
	queues map[string]*queue // by their names
}

// queue is the claimers of some names. It is there as long as one of them is, from
// before its first look on, so that no wake-up is lost between a look and a wait.
type queue struct {
	claimers int
	wakeup   chan struct{} // of one: a claimer is to look
}

func newTaskNotifier() *taskNotifier {
	n := &taskNotifier{
		name: sync.OnceValue(rand.Text), poll: claimPoll,
		announce: make(chan struct{}, 1), closed: make(chan struct{}), queues: make(map[string]*queue),
	}
	n.close = sync.OnceFunc(func() { close(n.closed) })
	return n
}

// join adds a claimer of the given names, or of any, until leave is called.
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

// wakeAll wakes one claimer of each queue. It does not look at the names of new tasks:
// a queue is there only while its claimers find nothing.
func (n *taskNotifier) wakeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.queues {
		q.wake()
	}
}

// wake wakes one claimer of the queue, or the next that is about to wait.
func (q *queue) wake() { signal(q.wakeup) }

// notified takes what the Listener heard.
func (n *taskNotifier) notified(payload string, _ bool) {
	if payload != n.name() {
		n.wakeAll()
	}
}

// wait returns true when it is time to look again, within the given time at
// most, and false when the time is over, ctx has ended or the notifier is closed.
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

// signal leaves a token in a channel of one, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

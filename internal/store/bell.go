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
	// bellPoll is how often a claimer that waits looks for itself: for tasks
	// that became due, for leases that ran out, and for what was announced while
	// nobody listened.
	bellPoll = time.Second

	// bellPause is the least time between two announcements of a process. What
	// is created in between shares the next one.
	bellPause = 20 * time.Millisecond
)

// bell wakes claimers that wait for tasks. Those that claim the same names are a
// queue, of which one is woken at a time: a claimer that was woken and found as
// much as it asked for wakes the next. So a task costs two claims for each queue
// and not one for each claimer that waits.
type bell struct {
	name     func() string // of the process, to know its own announcements
	poll     time.Duration // give or take a fifth
	announce chan struct{} // of one: other processes are to be told
	closed   chan struct{} // claimers must not wait any more
	close    func()

	mu     sync.Mutex
	queues map[string]*queue // by their names
}

// queue is the claimers of some names. It is there as long as one of them is, from
// before its first look on, so that no wake-up is lost between a look and a wait.
type queue struct {
	claimers int
	wake     chan struct{} // of one: a claimer is to look
}

func newBell() *bell {
	b := &bell{
		name: sync.OnceValue(rand.Text), poll: bellPoll,
		announce: make(chan struct{}, 1), closed: make(chan struct{}), queues: make(map[string]*queue),
	}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// join adds a claimer of the given names, or of any, until leave is called.
func (b *bell) join(names []string) (q *queue, leave func()) {
	key := strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), "\x00")
	b.mu.Lock()
	defer b.mu.Unlock()
	if q = b.queues[key]; q == nil {
		q = &queue{wake: make(chan struct{}, 1)}
		b.queues[key] = q
	}
	q.claimers++
	return q, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if q.claimers--; q.claimers == 0 {
			delete(b.queues, key)
		}
	}
}

// ring wakes one claimer of each queue. It does not look at the names of new tasks:
// a queue is there only while its claimers find nothing.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range b.queues {
		q.ring()
	}
}

// ring wakes one claimer of the queue, or the next that is about to wait.
func (q *queue) ring() { signal(q.wake) }

// heard takes what the Listener heard.
func (b *bell) heard(payload string, _ bool) {
	if payload != b.name() {
		b.ring()
	}
}

// wait returns true when it is time to look again, within the given time at
// most, and false when the time is over, ctx has ended or the bell is closed.
func (b *bell) wait(ctx context.Context, q *queue, most time.Duration) bool {
	if most <= 0 {
		return false
	}
	timer := time.NewTimer(min(most, b.poll*4/5+mathrand.N(b.poll*2/5)))
	defer timer.Stop()
	select {
	case <-q.wake:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-b.closed:
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

package store

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
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

// bell wakes claimers that wait for tasks, one at a time: whoever was woken and
// found as much as it asked for wakes the next. So a task costs two claims and
// not one for each claimer that waits.
type bell struct {
	name     func() string // of the process, to know its own announcements
	poll     time.Duration // give or take a fifth
	wake     chan struct{} // of one: a claimer is to look
	announce chan struct{} // of one: other processes are to be told
	closed   chan struct{} // nobody is to wait any more
	close    func()
}

func newBell() *bell {
	b := &bell{
		name: sync.OnceValue(rand.Text), poll: bellPoll,
		wake: make(chan struct{}, 1), announce: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

// ring wakes one claimer of this process, or the next that is about to wait.
func (b *bell) ring() { signal(b.wake) }

// heard takes what the Listener heard.
func (b *bell) heard(payload string, _ bool) {
	if payload != b.name() {
		b.ring()
	}
}

// wait returns true when it is time to look again, within the given time at
// most, and false when the time is over, ctx has ended or the bell is closed.
func (b *bell) wait(ctx context.Context, most time.Duration) bool {
	if most <= 0 {
		return false
	}
	timer := time.NewTimer(min(most, b.poll*4/5+mathrand.N(b.poll*2/5)))
	defer timer.Stop()
	select {
	case <-b.wake:
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

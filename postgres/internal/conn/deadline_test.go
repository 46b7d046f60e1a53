package conn

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestWithDeadline(t *testing.T) {
	t.Parallel()
	soon := func() time.Time { return time.Now().Add(10 * time.Millisecond) }
	late := func() time.Time { return time.Now().Add(time.Hour) }
	ended := func(t *testing.T, ctx context.Context, want error) {
		t.Helper()
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("it never ended")
		}
		if !errors.Is(ctx.Err(), want) {
			t.Errorf("err = %v, want %v", ctx.Err(), want)
		}
	}

	t.Run("Expires", func(t *testing.T) {
		t.Parallel()
		at := soon()
		ctx, cancel := WithDeadline(t.Context(), time.Now(), at)
		defer cancel()
		if got, ok := ctx.Deadline(); !ok || !got.Equal(at) {
			t.Errorf("deadline %v, want %v", got, at)
		}
		if ctx.Err() != nil {
			t.Errorf("err = %v before it", ctx.Err())
		}
		ended(t, ctx, context.DeadlineExceeded)
		if time.Now().Before(at) {
			t.Error("it ended too soon")
		}
	})

	t.Run("EarlierThanOneBefore", func(t *testing.T) {
		t.Parallel()
		_, cancelLate := WithDeadline(t.Context(), time.Now(), late())
		defer cancelLate()
		ctx, cancel := WithDeadline(t.Context(), time.Now(), soon())
		defer cancel()
		ended(t, ctx, context.DeadlineExceeded)
	})

	t.Run("EndsWithItsParent", func(t *testing.T) {
		t.Parallel()
		parent, end := context.WithCancel(t.Context())
		ctx, cancel := WithDeadline(parent, time.Now(), late())
		defer cancel()
		end()
		ended(t, ctx, context.Canceled)
	})

	t.Run("ParentHasEnded", func(t *testing.T) {
		t.Parallel()
		parent, end := context.WithCancel(t.Context())
		end()
		ctx, cancel := WithDeadline(parent, time.Now(), late())
		defer cancel()
		if ctx.Err() == nil {
			t.Error("it has not ended at once")
		}
		ended(t, ctx, context.Canceled)
	})

	t.Run("IsPast", func(t *testing.T) {
		t.Parallel()
		now := time.Now()
		ctx, cancel := WithDeadline(t.Context(), now, now)
		defer cancel()
		if ctx.Err() == nil {
			t.Error("it has not ended at once")
		}
		ended(t, ctx, context.DeadlineExceeded)
	})

	t.Run("KeepsTheSoonerOfTheParent", func(t *testing.T) {
		t.Parallel()
		at := soon()
		parent, end := context.WithDeadline(t.Context(), at)
		defer end()
		ctx, cancel := WithDeadline(parent, time.Now(), late())
		defer cancel()
		if got, _ := ctx.Deadline(); !got.Equal(at) {
			t.Errorf("deadline %v, want the parent's %v", got, at)
		}
		ended(t, ctx, context.DeadlineExceeded)
	})

	t.Run("ChildrenEndWithIt", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := WithDeadline(t.Context(), time.Now(), late())
		child, cancelChild := context.WithCancel(ctx)
		defer cancelChild()
		ran := make(chan struct{})
		context.AfterFunc(ctx, func() { close(ran) })
		stop := context.AfterFunc(ctx, func() { t.Error("a function ran that was stopped") })
		if !stop() || stop() {
			t.Error("stop does not report whether it stopped")
		}
		cancel()
		ended(t, child, context.Canceled)
		<-ran
		again := make(chan struct{})
		context.AfterFunc(ctx, func() { close(again) })
		<-again
	})
}

// Contexts begin and end in many goroutines. Each must end correctly, and the
// clock must retain none.
func TestWithDeadline_Crowd(t *testing.T) {
	t.Parallel()
	k := newDeadlineClock()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 200 {
				at := time.Now().Add(rand.N(2 * time.Millisecond))
				c := &Deadline{Context: context.Background(), deadline: at, done: make(chan struct{})}
				k.add(c)
				if rand.N(2) == 0 {
					<-c.Done()
					if time.Now().Before(at) || !errors.Is(c.Err(), context.DeadlineExceeded) {
						t.Errorf("it ended with %v, %v before its time", c.Err(), time.Until(at))
					}
				} else {
					k.remove(c)
					c.end(context.Canceled)
				}
			}
		})
	}
	wg.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first.next != &k.first {
		t.Error("the clock keeps one that has ended")
	}
}

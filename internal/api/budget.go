package api

import (
	"context"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// streams marks an operation, in its Metadata, whose request or answer may be
// of any length. It has no budget in all: what it does while nothing moves is
// bounded by progress instead.
const streams = "streams"

func streaming() map[string]any { return map[string]any{streams: true} }

// budget returns the context of an operation: it ends RequestTimeout after the
// request began, and with it whatever the operation waits for.
func (s *server) budget(ctx context.Context, op *huma.Operation) (context.Context, context.CancelFunc) {
	if op.Metadata[streams] == true {
		return ctx, func() {}
	}
	start := time.Now()
	if request, ok := ctx.Value(requestKey{}).(*requestContext); ok {
		start = request.start
	}
	return context.WithDeadline(ctx, start.Add(s.RequestTimeout))
}

// progress is the context of an upload: it ends when nothing has moved for its
// timeout, and at last one timeout after the upload has ended.
type progress struct {
	context.Context // the request's
	timeout         time.Duration
	timer           *time.Timer
	done            chan struct{}

	mu    sync.Mutex
	err   error
	ended bool
}

func newProgress(ctx context.Context, timeout time.Duration) (_ *progress, stop func()) {
	p := &progress{Context: ctx, timeout: timeout, done: make(chan struct{})}
	p.timer = time.AfterFunc(timeout, func() { p.finish(context.DeadlineExceeded) })
	release := context.AfterFunc(ctx, func() { p.finish(ctx.Err()) })
	return p, func() {
		release()
		p.finish(context.Canceled)
	}
}

// moved puts the end of the context off. The last time is when the upload has
// ended: what follows has one timeout.
func (p *progress) moved(last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.ended {
		return
	}
	p.ended = last
	p.timer.Reset(p.timeout)
}

func (p *progress) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.timer.Stop()
		p.err = err
		close(p.done)
	}
}

func (p *progress) Done() <-chan struct{} { return p.done }

func (p *progress) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

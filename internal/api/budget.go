package api

import (
	"context"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// streams marks an operation, in its Metadata, whose request or response may have any
// length. It has no total timeout. Instead, progress limits how long it may pause.
const streams = "streams"

func streaming() map[string]any { return map[string]any{streams: true} }

// budget returns the context of an operation, which ends RequestTimeout after the request
// began.
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

// progress is the context of an upload. It ends if nothing has moved for its timeout, and
// at the latest one timeout after the end of the upload.
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

// moved extends the context. It is called for the last time when the upload has ended, so
// the rest of the request has one timeout.
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

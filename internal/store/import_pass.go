package store

import (
	"cmp"
	"context"
	"errors"
	"io"

	"quern/internal/memory"
	"quern/internal/rowfile"
)

// importConns is how many chunks of an import are stored at a time, each on its own
// connection. PostgreSQL stores a chunk in one process, so two of them use two cores. A
// third would leave no connection to others: the class of imports has two in a pool of
// four, which is the default on two cores.
const importConns = 2

// importPipe connects the reading of an import with the storing.
type importPipe[R any] struct {
	opened chan *chunker[R]
	known  chan []int64
	full   chan *chunk[R] // closed at the end of the reading
	empty  chan *chunk[R]
	failed error // the error that ended the reading; valid when full is closed
}

// pass imports r from start to end. While chunks are stored, the next one is read, unless
// one of them has a long record.
func (run *importRun[R]) pass(ctx context.Context, s *Store, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	conns := importConns
	if run.opts.Strict {
		conns = 1 // that of the transaction
	}
	p := &importPipe[R]{
		opened: make(chan *chunker[R]), known: make(chan []int64),
		full: make(chan *chunk[R]), empty: make(chan *chunk[R], conns+1),
	}
	for range conns + 1 {
		p.empty <- &chunk[R]{}
	}
	room := &wideRoom{limits: run.limits, given: run.wide, strict: run.opts.Strict, ctx: ctx}
	defer room.close()
	turns := &importTurns[R]{run: run, store: s, most: conns}
	defer turns.wait()
	defer cancel()
	go run.read(ctx, r, room, p)
	var c *chunker[R]
	for full := p.full; ; {
		select {
		case <-turns.stopped(ctx):
			return run.at(context.Cause(ctx))
		case c = <-p.opened:
			ends, err := run.recall(ctx, s, c)
			p.known <- ends
			if err != nil {
				return err
			}
		case chunk, more := <-turns.accepts(full):
			if more {
				turns.add(ctx, chunk)
			} else {
				full = nil
			}
		case <-turns.oldest():
			t := turns.pop()
			if err := run.settle(c.d, t); err != nil {
				return run.at(err)
			}
			memory.Spent(t.chunk.garbage())
			if t.chunk.last {
				return run.at(c.d.Trailing())
			}
			t.chunk.reset()
			p.empty <- t.chunk
			turns.resume(ctx)
		}
		if full == nil && len(turns.all) == 0 {
			// If the context was cancelled, the reading has stopped too.
			return run.at(cmp.Or(p.failed, context.Cause(ctx)))
		}
	}
}

// read reads the chunks of an import until ctx is cancelled.
func (run *importRun[R]) read(ctx context.Context, r io.Reader, room *wideRoom, p *importPipe[R]) {
	defer close(p.full)
	c, err := run.start(r, room)
	if err != nil {
		p.failed = err
		return
	}
	select {
	case p.opened <- c:
		c.ends = <-p.known
	case <-ctx.Done():
		return
	}
	for last := false; !last; {
		into, ok := receive(ctx, p.empty)
		if !ok {
			return
		}
		if p.failed = c.read(into); p.failed != nil {
			return
		}
		last = into.last
		select {
		case p.full <- into:
		case <-ctx.Done():
			return
		}
		if room.wide && !last && !p.shrink(ctx, c, room) {
			return
		}
	}
}

// shrink waits until the chunk with a long record is stored, and releases its memory. It
// returns false if ctx was cancelled.
func (p *importPipe[R]) shrink(ctx context.Context, c *chunker[R], room *wideRoom) bool {
	chunks := make([]*chunk[R], cap(p.empty))
	for i := range chunks {
		var ok bool
		if chunks[i], ok = receive(ctx, p.empty); !ok {
			return false
		}
	}
	if c.shrink(chunks...) {
		room.done()
	}
	for _, chunk := range chunks {
		p.empty <- chunk
	}
	return true
}

func receive[T any](ctx context.Context, from <-chan T) (v T, ok bool) {
	select {
	case v = <-from:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}

// settle counts and reports a chunk whose turn has ended. Only then may the next chunk
// commit.
func (run *importRun[R]) settle(d *rowfile.Reader, t *turn[R]) error {
	c := t.chunk
	if run.id == nil {
		run.res.Line = c.line
		return nil
	}
	if t.err != nil && !errors.Is(t.err, ErrTooManyRejects) {
		return t.err
	}
	faults := append(t.out.faults, c.faults...)
	res := run.after(c, t.out, faults, t.earlier)
	if failed := run.reportRejects(d, c, faults); failed != nil {
		return errors.Join(t.err, failed)
	}
	if t.err != nil {
		// The chunk was not stored.
		return t.err
	}
	run.began = run.began || t.earlier == nil
	run.res = res
	close(t.settled)
	run.opts.Progress(res)
	return nil
}

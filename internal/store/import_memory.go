package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"quern/internal/memory"
)

// Limits bound what all imports of a process use at a time. The zero value is
// useful.
type Limits struct {
	// ImportMemory is how many bytes of memory imports use at most. Further ones
	// wait, and fail with ErrImportsBusy. Defaults to 128 MiB.
	ImportMemory int64

	// ImportSpool is how many bytes of temporary files strict imports have at
	// most, in the folder of TMPDIR. Defaults to 10 GiB.
	ImportSpool int64
}

// The memory that an import uses, measured with rows of all widths, and rounded up.
const (
	// runMemory is for two chunks, what they are sent as, and a read buffer.
	runMemory = 12 << 20

	// wideMemory is for a record of 8 MiB, the longest that rowfile reads: what is read, taken apart, kept as
	// text, decoded, encoded and sent of it.
	wideMemory = 64 << 20

	// MinImportMemory is the least memory that can take every row.
	MinImportMemory = runMemory + wideMemory

	defaultImportMemory = 128 << 20
	defaultImportSpool  = 10 << 30

	// importWait is how long an import waits for the others: as long as a client
	// that sends nothing may keep its place.
	importWait = 30 * time.Second
)

// ErrImportsBusy says that other imports have used the memory that there is for
// imports for too long. Rows that were stored until then stay.
var ErrImportsBusy = errors.New("other imports use all memory for imports")

// errWide says that a strict import meets a long record and needs more memory.
// It gives its transaction up first: if imports waited for memory while they hold
// a connection, those that have the memory could wait for a connection.
var errWide = errors.New("a record is long")

// importLimits are Limits in force.
type importLimits struct {
	runs  chan struct{} // has an element for each import under way
	wide  chan struct{} // has an element if an import has a long record in memory
	spool spoolLimit
	wait  time.Duration
}

// processLimits are the limits of every Store without its own.
var processLimits = newImportLimits(Limits{})

func newImportLimits(l Limits) *importLimits {
	if l.ImportMemory == 0 {
		l.ImportMemory = defaultImportMemory
	}
	if l.ImportSpool == 0 {
		l.ImportSpool = defaultImportSpool
	}
	wide := max(1, l.ImportMemory/2/wideMemory)
	runs := max(1, (l.ImportMemory-wide*wideMemory)/runMemory)
	// Nothing runs as many imports. Channels serve senders in their order.
	const most = 1 << 20
	return &importLimits{
		runs: make(chan struct{}, min(runs, most)), wide: make(chan struct{}, min(wide, most)),
		spool: spoolLimit{most: l.ImportSpool}, wait: importWait,
	}
}

// enter takes a place among the imports under way, or among those with a long
// record. An import has one of the former before it asks for one of the latter,
// and neither is waited for while a connection is held. So an import that has
// both waits for no other import, and none waits forever.
func (l *importLimits) enter(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(l.wait)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: waited %s: try again later, or raise IMPORT_MEMORY", ErrImportsBusy, l.wait)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives the place of an import back.
func (l *importLimits) leave() {
	<-l.runs
	if len(l.runs) == 0 {
		memory.GiveBack()
	}
}

// leaveWide gives the place for long records back, whose memory is free by then.
func (l *importLimits) leaveWide() {
	memory.Collect()
	<-l.wide
}

// wideRoom is the room of an import for long records.
type wideRoom struct {
	limits *importLimits
	ctx    context.Context // of the reading, which is all that asks for room
	given  bool            // the import has a place for as long as it runs
	strict bool
	wide   bool // it may have a long record in memory

	mu     sync.Mutex
	held   bool // it has a place until done
	closed bool
}

// need waits for room for a long record.
func (r *wideRoom) need() error {
	switch {
	case r.wide:
		return nil
	case r.given:
		r.wide = true
		return nil
	case r.strict:
		return errWide
	}
	if err := r.limits.enter(r.ctx, r.limits.wide); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.limits.leaveWide()
		return context.Canceled
	}
	r.wide, r.held = true, true
	return nil
}

// done gives the room back. Nothing of a long record may be in use.
func (r *wideRoom) done() {
	r.wide = false
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		r.held = false
		r.limits.leaveWide()
	}
}

// close gives the room back for good, even while a Read blocks.
func (r *wideRoom) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.held {
		r.held = false
		r.limits.leaveWide()
	}
}

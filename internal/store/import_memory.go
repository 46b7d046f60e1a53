package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"quern/internal/memory"
)

// Limits limits the resources of all imports of a process together. The zero value is
// useful.
type Limits struct {
	// ImportMemory is the maximum memory of imports in bytes. If it is used, further
	// imports wait, and return ErrImportsBusy after a time. Defaults to 128 MiB.
	ImportMemory int64

	// ImportSpool is the maximum size of the temporary files of strict imports in bytes, in
	// TMPDIR. Defaults to 10 GiB.
	ImportSpool int64
}

// The memory of an import, measured with rows of all widths and rounded up.
const (
	// runMemory is for two chunks, the messages that send them, and a read buffer.
	runMemory = 12 << 20

	// wideMemory is for a record of 8 MiB, the longest that rowfile reads, in all its
	// forms: read, split, kept as text, decoded, encoded and sent.
	wideMemory = 64 << 20

	// MinImportMemory is the least memory with which every row can be imported.
	MinImportMemory = runMemory + wideMemory

	defaultImportMemory = 128 << 20
	defaultImportSpool  = 10 << 30

	// importWait is how long an import waits for others: as long as a client that sends
	// nothing may occupy its place.
	importWait = 30 * time.Second
)

// ErrImportsBusy: other imports have used all the memory for imports for too long. Rows
// that were stored until then stay.
var ErrImportsBusy = errors.New("other imports use all memory for imports")

// errWide: a strict import met a long record and needs more memory. It rolls back its
// transaction before it waits. Otherwise, imports that hold a connection could wait for
// memory while imports that hold the memory wait for a connection.
var errWide = errors.New("a record is long")

// importLimits holds the limits and the places in use.
type importLimits struct {
	runs  chan struct{} // has an element for each running import
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
	// No process runs that many imports. Channels serve waiting senders in order.
	const most = 1 << 20
	return &importLimits{
		runs: make(chan struct{}, min(runs, most)), wide: make(chan struct{}, min(wide, most)),
		spool: spoolLimit{most: l.ImportSpool}, wait: importWait,
	}
}

// enter takes a place among the running imports, or among those with a long record. An
// import must have a place of the first kind before it waits for the second, and must not
// hold a connection while it waits for either. So an import with both waits for no other
// import, and no import waits forever.
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

// leave releases the place of an import.
func (l *importLimits) leave() {
	<-l.runs
	if len(l.runs) == 0 {
		memory.GiveBack()
	}
}

// leaveWide releases the place for long records. Their memory must be free by then.
func (l *importLimits) leaveWide() {
	memory.Collect()
	<-l.wide
}

// wideRoom manages the place of an import for long records.
type wideRoom struct {
	limits *importLimits
	ctx    context.Context // context of the reading, which is the only user
	given  bool            // the import keeps its place as long as it runs
	strict bool
	wide   bool // it may have a long record in memory

	mu     sync.Mutex
	held   bool // it has a place until done
	closed bool
}

// need waits for the place for a long record.
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

// done releases the place. No long record may be in use.
func (r *wideRoom) done() {
	r.wide = false
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		r.held = false
		r.limits.leaveWide()
	}
}

// close releases the place permanently, even while a Read blocks.
func (r *wideRoom) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.held {
		r.held = false
		r.limits.leaveWide()
	}
}

package postgres

import "testing"

// TestAllowedBatches: reads have half as many batches while many of their callers are elsewhere,
// and all of them again when the callers wait or have gone.
func TestAllowedBatches(t *testing.T) {
	t.Parallel()
	co := &coalescer{reads: true, batchLimit: 4}
	expect := func(what string, outstanding, queued int, want int64) {
		t.Helper()
		co.outstanding.Store(int64(outstanding))
		co.queue = make([]*call, queued)
		if got := co.allowed(); got != want {
			t.Errorf("%s: %d batches, want %d", what, got, want)
		}
	}
	expect("the first callers", 8, 8, 4)
	co.outstanding.Store(16)
	co.notePeak()
	expect("few callers, and half of them wait", 8, 4, 4)
	co.outstanding.Store(64)
	co.notePeak()
	expect("all callers wait, many of them in the queue", 64, 40, 8)
	expect("all callers wait, most of them in batches", 64, 4, 4)
	expect("half of the callers wait", 32, 20, 2)
	expect("three quarters wait", 48, 12, 4)
	for range 50 {
		co.outstanding.Store(8)
		co.notePeak()
	}
	expect("the other callers have gone", 8, 4, 4)
	co.batchLimit = 1
	expect("one core", 1, 1, 1)
	co.outstanding.Store(64)
	co.notePeak()
	expect("one core, and callers elsewhere", 10, 5, 1)

	co = &coalescer{batchLimit: 4}
	co.outstanding.Store(64)
	co.notePeak()
	expect("writes", 32, 8, 4)
}

package postgres

import "testing"

// TestCoalescer_Allowed: a further batch of updates runs beside another one only if few calls are
// outstanding, or if it has at least half as many.
func TestCoalescer_Allowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                         string
		update                       bool
		outstanding, queued, waiting int
		want                         int64
	}{
		{"ShortQueue", false, 100, minBatch - 1, 0, 2},
		{"LongQueue", false, 100, minBatch, 0, 4},
		{"FewUpdates", true, 2*minBatch - 1, 1, 0, 2},
		{"SmallBatch", true, 100, 32, 0, 1},
		{"LargeBatch", true, 100, 34, 0, 2},
		{"WaitingForRows", true, 100, 17, 50, 2},
		{"LongQueueOfUpdates", true, 1000, 600, 0, 2},
	} {
		co := &coalescer{batchLimit: 2, queue: make([]*call, c.queued)}
		if c.update {
			co.keys.params = []int{0}
		}
		co.keys.size = c.waiting
		co.outstanding.Store(int64(c.outstanding))
		if got := co.allowed(); got != c.want {
			t.Errorf("%s: %d batches, want %d", c.name, got, c.want)
		}
	}
}

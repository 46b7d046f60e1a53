// Package memory collects the garbage of large operations early and returns
// memory to the operating system after them.
//
// A service should let its heap grow to a multiple of the live heap, because
// small requests leave much garbage and retain nothing. But for an import or a
// body of megabytes, a multiple is too much, and the runtime would keep it for
// minutes.
package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
)

// limit is how much garbage may accumulate before a collection. A collection
// takes some milliseconds, and this much accumulates at most every quarter of a
// second.
const limit = 16 << 20

// share is the part of the live heap that garbage may reach if that is more. A
// collection takes a time in proportion to the live heap. With 300 MB of it,
// those of an import took a third of its processor time.
const share = 8

var (
	garbage atomic.Int64 // since the last collection
	left    atomic.Int64 // since memory was last returned
	giving  sync.Mutex
)

// Spent records that the given number of bytes became garbage, and starts a
// collection if much has accumulated.
func Spent(bytes int64) {
	left.Add(bytes)
	if garbage.Add(bytes) <= limit {
		return
	}
	most := max(limit, int64(live()/share))
	if garbage.Load() > most && garbage.Swap(0) > most {
		runtime.GC()
	}
}

// live returns the size of the heap's live objects at the end of the last collection.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Collect runs a garbage collection now.
func Collect() {
	garbage.Store(0)
	runtime.GC()
}

// GiveBack returns free memory to the operating system in the background, if
// much has become garbage since the last time. Call it at the end of the last
// large operation.
func GiveBack() {
	if left.Load() < limit || !giving.TryLock() {
		return
	}
	go func() {
		defer giving.Unlock()
		left.Store(0)
		garbage.Store(0)
		debug.FreeOSMemory()
	}()
}

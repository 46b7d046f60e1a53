// Package memory collects the garbage of large pieces of work soon, and gives
// memory back to the operating system after them.
//
// A service lets its heap grow to a multiple of what is in use, because small
// requests leave much garbage and keep nothing. An import or a body of megabytes
// uses much, of which a multiple is too much, and the runtime would keep it for
// minutes.
package memory

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// limit is how much garbage is left before it is collected: a collection takes
// some milliseconds, and this much comes every quarter of a second at most.
const limit = 16 << 20

var (
	garbage atomic.Int64 // since the last collection
	left    atomic.Int64 // since memory was given back
	giving  sync.Mutex
)

// Spent notes that so many bytes have become garbage, and collects it when there
// is much.
func Spent(bytes int64) {
	left.Add(bytes)
	if garbage.Add(bytes) > limit && garbage.Swap(0) > limit {
		runtime.GC()
	}
}

// Collect collects all garbage now.
func Collect() {
	garbage.Store(0)
	runtime.GC()
}

// GiveBack returns free memory to the operating system in the background, if much
// has become garbage since the last time. It is for the end of the last of such
// pieces of work.
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

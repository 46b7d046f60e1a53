package memory

import (
	"runtime"
	"testing"
	"time"
)

// TestSpent counts the collections for much garbage. The runtime would not make
// them by itself.
func TestSpent(t *testing.T) {
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	before := collections()
	Spent(limit / 2)
	if n := collections() - before; n != 0 {
		t.Errorf("%d collections of little garbage", n)
	}
	Spent(limit)
	if n := collections() - before; n != 1 {
		t.Errorf("%d collections of much garbage, want 1", n)
	}
	Collect()
	if n := collections() - before; n != 2 {
		t.Errorf("%d collections, want 2", n)
	}
}

// TestSpent_LargeHeap fills the heap, so that more garbage is allowed. The pages of the heap are
// never written, so they take no memory.
func TestSpent_LargeHeap(t *testing.T) {
	used := make([]byte, 12*limit)
	runtime.GC()
	Collect()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Spent(limit + 1)
	runtime.ReadMemStats(&after)
	if n := after.NumForcedGC - before.NumForcedGC; n != 0 {
		t.Errorf("%d collections of garbage that is little in such a heap", n)
	}
	Spent(limit)
	runtime.ReadMemStats(&after)
	if n := after.NumForcedGC - before.NumForcedGC; n != 1 {
		t.Errorf("%d collections of much garbage, want 1", n)
	}
	runtime.KeepAlive(used)
}

func TestGiveBack(t *testing.T) {
	idle := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapIdle - m.HeapReleased
	}
	used := make([]byte, 64<<20)
	for i := 0; i < len(used); i += 4096 {
		used[i] = 1
	}
	runtime.KeepAlive(used)
	used = nil
	Spent(64 << 20)
	GiveBack()
	for deadline := time.Now().Add(time.Minute); idle() > 16<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are kept", idle())
		}
	}
}

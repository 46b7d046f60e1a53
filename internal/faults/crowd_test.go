//go:build linux

package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowdSize is the usual number of concurrent callers. It is far larger than
// the number of connections, so that calls queue up and can be coalesced.
const crowdSize = 256

// crowdConns is the size of the pool that a crowd uses.
const crowdConns = 8

// crowd runs n callers at once and returns when all of them have returned.
func crowd(n int, call func(caller int)) {
	var all sync.WaitGroup
	for caller := range n {
		all.Go(func() { call(caller) })
	}
	all.Wait()
}

// span returns a function that reports whether this run has lasted long enough.
func span(short, atLength time.Duration) (over func() bool) {
	until := time.Now().Add(time.Duration(times(int(short), int(atLength))))
	return func() bool { return time.Now().After(until) }
}

// seen returns a function that reports whether there is a finding of the kind,
// or waiting for one is useless.
func (f *findings) seen(kind string) (over func() bool) {
	late := span(startLimit, startLimit)
	return func() bool { return f.has(kind) || late() }
}

// The kinds of findings.
const (
	// Of reads.
	staleRead   = "a read is older than the version known before it"
	futureRead  = "a read shows a version not yet written"
	foreignRow  = "a row is not the requested one, or is incomplete"
	changedRow  = "a caller's values were changed by another"
	failedCall  = "a call failed without a reason in its own request"
	blindInTx   = "a transaction does not see its own change"
	untypedCall = "a call failed with an error of the wrong kind"
	lateCall    = "a call returned long after its context had ended"

	// Of inserts.
	acceptedWrong = "an insert succeeded that had to be refused"
	wrongRefusal  = "an insert was refused without a reason in its own row"
	wonTwice      = "a name was given to more than one caller, or to none"
	lostInsert    = "an insert was acknowledged and is not stored"
	doubledInsert = "an insert is stored more than once"
	ghostInsert   = "a row is stored that no caller asked for, or that was refused"
	alteredInsert = "a stored row differs from the one its caller was given"
)

// findings are the objections of a check to the results that callers got. For
// each kind it has the number and the first example. A check reports findings
// instead of failing its test, so that a control can require them. The zero
// value is ready for use.
type findings struct {
	mu    sync.Mutex
	kinds map[string]*finding
}

type finding struct {
	n     int
	first string
}

func (f *findings) add(kind, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kinds == nil {
		f.kinds = map[string]*finding{}
	}
	if f.kinds[kind] == nil {
		f.kinds[kind] = &finding{first: fmt.Sprintf(format, args...)}
	}
	f.kinds[kind].n++
}

// has reports whether there is a finding of the kind.
func (f *findings) has(kind string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kinds[kind] != nil
}

func (f *findings) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(f.kinds)) {
		fmt.Fprintf(&b, "\n    %d × %s: %s", f.kinds[kind].n, kind, f.kinds[kind].first)
	}
	return b.String()
}

// check fails the test if there is a finding.
func (f *findings) check(t testing.TB) {
	t.Helper()
	if s := f.String(); s != "" {
		t.Error("the answers are not right:", s)
	}
}

// require fails the test of a wrong variant if the check found nothing.
func (f *findings) require(t testing.TB, kind string) {
	t.Helper()
	if !f.has(kind) {
		t.Errorf("the check does not see that %s: it sees %q", kind, f)
	}
}

// raise increases v to at least the given value.
func raise[T int32 | int64](v atomicInt[T], to T) {
	for was := v.Load(); was < to && !v.CompareAndSwap(was, to); was = v.Load() {
	}
}

// atomicInt is an integer of sync/atomic.
type atomicInt[T any] interface {
	Load() T
	CompareAndSwap(was, now T) bool
}

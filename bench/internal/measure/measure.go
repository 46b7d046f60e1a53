// Package measure times operations. It runs an operation with a number of
// callers for some time and reports how many there were, how long each took,
// and its cost in processor time (of client and server) and in memory.
//
//	Op, Input          the operation, and its input
//	Fold               a checksum of the answers
//	Run                one measurement
//	Cell               the measurements of one workload with one number of callers
package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Op does an operation once. If f is not nil, it also folds its answer into f,
// so that answers can be compared. Otherwise it is being measured.
type Op func(ctx context.Context, in *Input, f *Fold) error

// Errors of an Op for a call that does not count.
var (
	// ErrCancelled means that the caller cancelled it.
	ErrCancelled = errors.New("cancelled by its caller")

	// ErrRefused means that it was not answered within its deadline. A few refused
	// calls are accepted, because a busy machine can delay any call.
	ErrRefused = errors.New("refused")
)

// mostRefused is the maximum percentage of refused calls.
const mostRefused = 1

// Load sets how an operation is run.
type Load struct {
	Workload string
	Callers  int
	Duration time.Duration
	Lo, Hi   int64  // the ids of the existing users
	Seed     uint64 // of the random ids; equal for all compared peers
	Prefix   string // of the inserted usernames
	Existing string // an existing username
}

// Sample is the result of one measurement.
type Sample struct {
	Ops      int64
	Inserted int64 // part of Ops, if the operation counts them
	Refused  int64 // not part of Ops
	Elapsed  time.Duration
	P50, P99 time.Duration

	ClientCPU time.Duration // of the whole process, or of the peer's process
	ServerCPU time.Duration // negative if unknown

	// The part of the time that was spent in the kernel, negative if unknown.
	ClientKernel, ServerKernel time.Duration

	Mallocs, Bytes int64 // negative if unknown

	Connections int64 // opened during the measurement
}

// Throughput returns the operations per second.
func (s Sample) Throughput() float64 { return float64(s.Ops) / s.Elapsed.Seconds() }

// Run measures op under the load. It waits for the calls that are pending when
// the time is up, and counts them.
func Run(ctx context.Context, op Op, l Load) (Sample, error) {
	workers := make([]*worker, l.Callers)
	for i := range workers {
		workers[i] = newWorker(i, l)
	}
	s, err := Once(func() error { return together(ctx, workers, op, time.Now(), l.Duration) })
	if err != nil {
		return s, err
	}
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.latencies...)
		s.Inserted += w.in.inserted
		s.Refused += w.refused
	}
	s.Ops = int64(len(all))
	if s.Ops == 0 || s.Refused*100 > (s.Ops+s.Refused)*mostRefused {
		return s, fmt.Errorf("%d calls were answered, but %d were %w", s.Ops, s.Refused, ErrRefused)
	}
	slices.Sort(all)
	s.P50, s.P99 = all[len(all)/2], all[len(all)*99/100]
	return s, nil
}

// Once measures a single call of fn, which may be many operations.
func Once(fn func() error) (Sample, error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, kernel := processCPU()
	start := time.Now()
	err := fn()
	s := Sample{Elapsed: time.Since(start)}
	s.ClientCPU, s.ClientKernel = processCPU()
	s.ClientCPU, s.ClientKernel = s.ClientCPU-cpu, s.ClientKernel-kernel
	runtime.ReadMemStats(&after)
	s.Mallocs, s.Bytes = int64(after.Mallocs-before.Mallocs), int64(after.TotalAlloc-before.TotalAlloc)
	return s, err
}

// worker is one caller.
type worker struct {
	in        *Input
	latencies []time.Duration
	refused   int64
}

func newWorker(i int, l Load) *worker {
	// The capacity is enough for the most calls that a caller can make in that time. If the
	// list grew, its memory would be counted as that of the operation.
	room := min(1<<16, 1+int(l.Duration.Seconds()*200_000)/l.Callers)
	return &worker{in: newInput(i, l), latencies: make([]time.Duration, 0, room)}
}

// together runs the workers until the time is up and returns their first error.
func together(ctx context.Context, workers []*worker, op Op, start time.Time, d time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() {
			if err := w.run(ctx, op, start.Add(d)); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (w *worker) run(ctx context.Context, op Op, end time.Time) error {
	// Each worker calls at least once, even if its turn comes late.
	last := time.Now()
	for {
		err := op(ctx, w.in, nil)
		now := time.Now()
		switch {
		case err == nil:
			w.latencies = append(w.latencies, now.Sub(last))
		case errors.Is(err, ErrRefused):
			w.refused++
		case !errors.Is(err, ErrCancelled):
			return err
		}
		last = now
		if now.After(end) {
			return nil
		}
	}
}

// processCPU returns the processor time of this process so far, and the part of
// it in the kernel.
func processCPU() (all, kernel time.Duration) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	kernel = time.Duration(u.Stime.Nano())
	return kernel + time.Duration(u.Utime.Nano()), kernel
}

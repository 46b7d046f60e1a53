// Package measure times operations: it runs one with a number of callers for a
// while and says how many there were, how long each took and what it cost in
// processor time, here and at the server, and in memory.
//
//	Op, Input          what is measured, and what it is given to work on
//	Fold               what is answered, as a checksum
//	Run                one measurement
//	Cell               the measurements of one workload at one number of callers
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

// Op does an operation once. With f it also folds what it was answered into f,
// for a comparison of the answers; without, it is being measured.
type Op func(ctx context.Context, in *Input, f *Fold) error

// What an Op returns for a call that does not count.
var (
	// ErrCancelled says that the caller gave it up.
	ErrCancelled = errors.New("given up by its caller")

	// ErrRefused says that it was not answered in the time that it may take.
	// Few may be refused: a busy machine can hold anyone up.
	ErrRefused = errors.New("refused")
)

// mostRefused is how many of a hundred calls may be refused.
const mostRefused = 1

// Load says how an operation is run.
type Load struct {
	Workload string
	Callers  int
	Duration time.Duration
	Lo, Hi   int64  // the ids of the users that exist
	Seed     uint64 // of the random ids: the same for all that are compared
	Prefix   string // of the usernames that are inserted
	Existing string // a username that exists
}

// Sample is what one measurement found.
type Sample struct {
	Ops      int64
	Inserted int64 // of Ops, as far as the operation counts them
	Refused  int64 // not of Ops
	Elapsed  time.Duration
	P50, P99 time.Duration

	ClientCPU time.Duration // of the whole process; for a peer in another process, of that one
	ServerCPU time.Duration // negative when it is not known

	// Of these, how much in the kernel: negative when it is not known.
	ClientKernel, ServerKernel time.Duration

	Mallocs, Bytes int64 // negative when they are not known

	Connections int64 // opened meanwhile
}

// Throughput is operations a second.
func (s Sample) Throughput() float64 { return float64(s.Ops) / s.Elapsed.Seconds() }

// Run measures op under the load. It waits for the calls that are under way
// when the time is up, and counts them.
func Run(ctx context.Context, op Op, l Load) (Sample, error) {
	workers := make([]*worker, l.Callers)
	for i := range workers {
		workers[i] = newWorker(i, l)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, kernel := processCPU()
	start := time.Now()
	err := together(ctx, workers, op, start, l.Duration)
	s := Sample{Elapsed: time.Since(start)}
	s.ClientCPU, s.ClientKernel = processCPU()
	s.ClientCPU, s.ClientKernel = s.ClientCPU-cpu, s.ClientKernel-kernel
	runtime.ReadMemStats(&after)
	if err != nil {
		return s, err
	}
	s.Mallocs, s.Bytes = int64(after.Mallocs-before.Mallocs), int64(after.TotalAlloc-before.TotalAlloc)
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.latencies...)
		s.Inserted += w.in.inserted
		s.Refused += w.refused
	}
	s.Ops = int64(len(all))
	if s.Ops == 0 || s.Refused*100 > (s.Ops+s.Refused)*mostRefused {
		return s, fmt.Errorf("%d calls answered and %d %w", s.Ops, s.Refused, ErrRefused)
	}
	slices.Sort(all)
	s.P50, s.P99 = all[len(all)/2], all[len(all)*99/100]
	return s, nil
}

// worker is one caller.
type worker struct {
	in        *Input
	latencies []time.Duration
	refused   int64
}

func newWorker(i int, l Load) *worker {
	// Room for what a caller can do at most in that time, so that the list does
	// not grow, which would count as the operation's memory.
	room := min(1<<16, 1+int(l.Duration.Seconds()*200_000)/l.Callers)
	return &worker{in: newInput(i, l), latencies: make([]time.Duration, 0, room)}
}

// together runs the workers until the time is up, and returns their first error.
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
	// Each calls once at least, however late its turn comes.
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

// processCPU is the processor time of this process so far, and how much of it
// was in the kernel.
func processCPU() (all, kernel time.Duration) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	kernel = time.Duration(u.Stime.Nano())
	return kernel + time.Duration(u.Utime.Nano()), kernel
}

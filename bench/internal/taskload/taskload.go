// Package taskload compares Quern's tasks with River's jobs. Both create the same number of tasks
// that do nothing, and work them with the same number of workers on pools of the same size. Each
// task must be worked once, and its completion be stored.
//
//	taskload.go    the rounds
//	quern.go       tasks of the project's store
//	river.go       jobs of River
package taskload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"quern/bench/internal/measure"
	"quern/bench/internal/server"
)

// Reference is the contender to which the others are compared.
const Reference = "River"

// The names of the workloads.
const (
	Created = "tasks created"
	Worked  = "tasks worked"
)

// pool is the number of connections of each contender.
const pool = 16

// chunk is how many tasks one statement creates.
const chunk = 1000

// Config sets what is measured.
type Config struct {
	Tasks   int   // in each round
	Workers []int // the numbers of workers
	Rounds  int
	CPU     func() (all, kernel time.Duration) // the server's processor time, or negative values
}

// queue is a contender.
type queue interface {
	// name returns the contender's name for a number of workers.
	name() string
	// create creates n tasks whose ids are 1 to n.
	create(ctx context.Context, n int) error
	// work works all tasks with the given number of workers, and calls done with the id of each
	// that is worked. It returns when all completions are stored. After that, stop ends what it
	// has started.
	work(ctx context.Context, workers, n int, done func(id int64)) (stop func() error, err error)
	// table is the name of its table.
	table() string
	// good selects the number of tasks that were completed at the first attempt.
	good() string
	close() error
}

// Version is River's version.
func Version() string { return riverVersion() }

// Run measures all contenders in interleaved rounds.
func Run(ctx context.Context, d *server.Database, c Config) (cells []*measure.Cell, err error) {
	var queues []queue
	defer func() {
		for _, q := range queues {
			err = errors.Join(err, q.close())
		}
	}()
	for _, open := range []func() (queue, error){
		func() (queue, error) { return openRiver(ctx, d.URL) },
		func() (queue, error) { return openQuern(ctx, d.URL, "quern", 10, false) },
		func() (queue, error) { return openQuern(ctx, d.URL, "quern, claims of 1", 1, false) },
		func() (queue, error) { return openQuern(ctx, d.URL, "quern, stored in the background", 10, true) },
	} {
		q, err := open()
		if err != nil {
			return nil, err
		}
		queues = append(queues, q)
	}
	r := &rounds{Config: c, d: d, created: measure.NewCell(Created, 1)}
	for _, workers := range c.Workers {
		cell := measure.NewCell(Worked, workers)
		for round := range c.Rounds {
			for i := range queues {
				q := queues[(i+round)%len(queues)]
				s, err := r.round(ctx, q, workers)
				if err != nil {
					return nil, fmt.Errorf("%s with %d workers: %w", q.name(), workers, err)
				}
				cell.Add(q.name(), s)
			}
		}
		cells = append(cells, cell)
	}
	return append(cells, r.created), nil
}

type rounds struct {
	Config
	d       *server.Database
	created *measure.Cell
}

// round creates the tasks and works them.
func (r *rounds) round(ctx context.Context, q queue, workers int) (s measure.Sample, err error) {
	if err := r.d.Do(ctx, "TRUNCATE "+q.table()+" RESTART IDENTITY"); err != nil {
		return s, err
	}
	s, err = r.once(func() error { return q.create(ctx, r.Tasks) })
	if err != nil {
		return s, err
	}
	r.created.Add(q.name(), s)
	if err := r.d.Do(ctx, "VACUUM (ANALYZE) "+q.table(), "CHECKPOINT"); err != nil {
		return s, err
	}
	times := make([]atomic.Int32, r.Tasks+1)
	stop := func() error { return nil }
	s, err = r.once(func() (err error) {
		stop, err = q.work(ctx, workers, r.Tasks, func(id int64) {
			if id < 1 || id > int64(r.Tasks) {
				id = 0
			}
			times[id].Add(1)
		})
		return err
	})
	if err = errors.Join(err, stop()); err != nil {
		return s, err
	}
	for id := range times {
		if n := times[id].Load(); n != 1 && id > 0 || n != 0 && id == 0 {
			return s, fmt.Errorf("task %d was worked %d times", id, n)
		}
	}
	good, err := r.d.Number(ctx, q.good())
	if err == nil && good != int64(r.Tasks) {
		err = fmt.Errorf("%d of %d tasks were completed at the first attempt", good, r.Tasks)
	}
	return s, err
}

// once measures fn, which handles all tasks.
func (r *rounds) once(fn func() error) (measure.Sample, error) {
	cpu, kernel := r.CPU()
	s, err := measure.Once(fn)
	s.ServerCPU, s.ServerKernel = r.CPU()
	if s.ServerCPU >= 0 {
		s.ServerCPU, s.ServerKernel = s.ServerCPU-cpu, s.ServerKernel-kernel
	}
	s.Ops = int64(r.Tasks)
	s.P50, s.P99 = -1, -1
	return s, err
}

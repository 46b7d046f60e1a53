package main

import (
	"context"
	"errors"
	"time"

	"quern/bench/internal/measure"
	"quern/bench/internal/taskload"
)

const (
	taskCount  = 40_000
	taskRounds = 3
)

// runTasks measures tasks beside River on a separate database.
func (r *runner) runTasks(ctx context.Context) (err error) {
	if !r.wanted("tasks") {
		return nil
	}
	d, err := r.server.Make(ctx, "bench_tasks", 0, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Drop(context.WithoutCancel(ctx))) }()
	c := taskload.Config{
		Tasks: int(r.size(taskCount, 500)), Workers: []int{100, 1000}, Rounds: min(r.rounds, taskRounds), CPU: r.server.CPU,
	}
	if len(r.callers) > 0 {
		c.Workers = r.callers
	}
	if r.only != "" {
		c.Rounds = r.rounds
	}
	if r.smoke {
		c.Workers, c.Rounds = c.Workers[:1], 1
	}
	if r.tasks, err = taskload.Run(ctx, d, c); err != nil {
		return err
	}
	for _, cell := range r.tasks {
		logTasks(cell)
	}
	return nil
}

// logTasks prints the results of a cell on the terminal.
func logTasks(c *measure.Cell) {
	logf("%s, %d workers", c.Workload, c.Callers)
	for _, name := range c.Order {
		s := c.Summarize(name, taskload.Reference)
		logf("  %-45s %10.0f /s %6.2f  CPU %v of the client, %v of the server", name, s.Throughput, s.Ratio,
			s.ClientCPU.Round(100*time.Nanosecond), s.ServerCPU.Round(100*time.Nanosecond))
	}
}

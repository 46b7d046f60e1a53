package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"quern/bench/internal/httpload"
	"quern/bench/internal/measure"
	"quern/bench/internal/report"
)

// runHTTP measures point reads over HTTP on a separate database. Its small form
// is the test of package httpload.
func (r *runner) runHTTP(ctx context.Context) (err error) {
	if r.smoke || !r.wanted("http") {
		return nil
	}
	d, err := r.server.Make(ctx, "bench_http", mainUsers, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Drop(context.WithoutCancel(ctx))) }()
	c := httpload.Config{
		DatabaseURL: d.URL, Connections: []int{64, 256}, Rounds: r.rounds, Duration: 2 * r.duration, Logf: logf,
		DatabaseCPU: func() time.Duration { all, _ := r.server.CPU(); return all },
	}
	found, err := httpload.Run(ctx, c)
	if err != nil {
		return err
	}
	for _, n := range c.Connections {
		r.http = append(r.http, httpCell(n, found))
	}
	r.found = found
	for _, m := range report.MemoryOf(found) {
		logf("memory of %s besides its file of %s: %s idle, %s at most with %v connections",
			m.Server, report.Size(m.File), report.Size(m.Idle), report.Size(m.Busy), slices.Max(c.Connections))
	}
	return nil
}

// httpCell returns the results for a number of connections. The HTTP server
// counts as the client, because it is the client of the database.
func httpCell(connections int, found []httpload.Result) *measure.Cell {
	cell := measure.NewCell("http", connections)
	for _, f := range found {
		if f.Connections != connections {
			continue
		}
		cell.Add(f.Server, measure.Sample{
			Ops: f.Requests, Refused: f.Refused, Elapsed: time.Duration(float64(f.Requests) / f.Throughput * float64(time.Second)),
			P50: f.P50, P99: f.P99, ClientCPU: f.ServerCPU * time.Duration(f.Requests),
			ServerCPU: f.DatabaseCPU * time.Duration(f.Requests), Mallocs: -1, Bytes: -1,
		})
	}
	return cell
}

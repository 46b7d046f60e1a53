package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"quern/bench/internal/httpload"
	"quern/bench/internal/measure"
	"quern/bench/internal/peer"
	"quern/bench/internal/report"
	"quern/bench/internal/server"
)

// results are the results of all workloads.
type results struct {
	main   []*measure.Cell
	load   []*measure.Cell
	sizes  map[int64][]*measure.Cell
	http   []*measure.Cell
	tasks  []*measure.Cell
	counts []*measure.Cell
	found  []httpload.Result // over HTTP
	peers  []*peer.Peer
}

func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func run(ctx context.Context, o options) (err error) {
	s, err := server.Start(ctx, logf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.profile != "" {
		file, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	start := time.Now()
	r := &runner{options: o, server: s, commit: report.Commit()}
	for _, part := range []func(context.Context) error{r.runMain, r.runLoad, r.runSizes, r.runHTTP, r.runTasks, r.runCounts} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if r.out == "" {
		return nil
	}
	return r.write(ctx, r.out, time.Since(start))
}

// runner measures on one database after the other.
type runner struct {
	options
	server *server.Server
	commit string
	results
}

// bench returns a bench for a database.
func (r *runner) bench(d *server.Database, peers []*peer.Peer) *bench {
	b := &bench{server: r.server, db: d, peers: peers, rounds: r.rounds, duration: r.duration}
	if r.smoke {
		b.small, b.rounds, b.duration = true, 1, time.Millisecond
	}
	return b
}

// pick returns the workloads that were requested.
func (r *runner) pick(list []workload) (picked []workload) {
	for _, w := range list {
		if r.wanted(w.name) {
			picked = append(picked, w)
		}
	}
	return picked
}

// size returns n, or small for the smoke test.
func (r *runner) size(n, small int64) int64 {
	if r.smoke {
		return small
	}
	return n
}

// The main database.
const (
	mainUsers = 100_000
	mainPosts = 200_000
)

func (r *runner) runMain(ctx context.Context) (err error) {
	d := database{name: "bench", users: r.size(mainUsers, 12_000), posts: r.size(mainPosts, 24_000)}
	open, list := r.openAll, r.pick(mainWorkloads)
	if r.mainOnly {
		open = peer.OpenMain
	}
	if len(r.callers) > 0 {
		for i := range list {
			list[i].callers = r.callers
		}
	}
	r.main, err = r.on(ctx, d, list, open)
	return err
}

// loadDuration makes each bulk load a measurement of a single operation.
const loadDuration = time.Nanosecond

func (r *runner) runLoad(ctx context.Context) error {
	picked := r.pick([]workload{loadWorkload})
	if len(picked) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "quern-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	load, err := peer.NewLoad(dir, int(r.size(int64(r.rows), 1000)))
	if err != nil {
		return err
	}
	r.load, err = r.on(ctx, database{name: "bench_load", load: load, duration: loadDuration}, picked, peer.OpenMain)
	return err
}

// tableSizes are the sizes on which some operations are measured.
var tableSizes = []int64{1_000, 10_000, 100_000, 1_000_000}

func (r *runner) runSizes(ctx context.Context) error {
	r.sizes = map[int64][]*measure.Cell{}
	sizes := tableSizes
	if r.smoke {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		d := database{name: fmt.Sprint("bench_", n), users: n, posts: 2 * n, rounds: fewerRounds}
		cells, err := r.on(ctx, d, r.pickSizes(), peer.OpenMain)
		if err != nil {
			return err
		}
		r.sizes[n] = cells
	}
	return nil
}

// pickSizes returns the workloads on tables of several sizes. They are
// requested together, as sizes.
func (r *runner) pickSizes() []workload {
	if r.only == "" || r.wanted("sizes") {
		return sizeWorkloads
	}
	return nil
}

// openAll connects all peers.
func (r *runner) openAll(ctx context.Context, c peer.Config) ([]*peer.Peer, error) {
	peers, err := peer.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	python, err := peer.OpenPython(ctx, c, logf)
	r.peers = append(peers, python...)
	return r.peers, err
}

// database describes a database to create.
type database struct {
	name         string
	users, posts int64
	load         *peer.Load
	duration     time.Duration // of each measurement, if it differs from the options
	rounds       int           // at most; 0 for those of the options
}

// on creates a database, measures workloads on it and drops it.
func (r *runner) on(
	ctx context.Context, d database, list []workload, open func(context.Context, peer.Config) ([]*peer.Peer, error),
) (cells []*measure.Cell, err error) {
	if len(list) == 0 {
		return nil, nil
	}
	start := time.Now()
	made, err := r.server.Make(ctx, d.name, d.users, d.posts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, made.Drop(context.WithoutCancel(ctx))) }()
	logf("%s: %d users and %d posts (%.1f s)", d.name, d.users, d.posts, time.Since(start).Seconds())
	peers, err := open(ctx, peer.Config{URL: made.URL, Load: d.load})
	defer func() {
		for _, p := range peers {
			err = errors.Join(err, p.Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	b := r.bench(made, peers)
	if d.duration != 0 {
		b.duration = d.duration
	}
	if d.rounds != 0 && r.only == "" {
		b.rounds = min(b.rounds, d.rounds)
	}
	for _, w := range list {
		measured, err := b.measure(ctx, w)
		if err != nil {
			return nil, err
		}
		cells = append(cells, measured...)
	}
	return cells, nil
}

// Package httpload measures point reads over HTTP, from a client's request to
// the answer. It compares the project's own server with the same API on plain
// pgx, a handwritten handler, services in Python, and a handler without a
// database. Each server and the load are separate processes.
//
//	peers.go     the servers that are compared
//	process.go   starts and stops them
//	compare.go   checks that they answer the same
//	cpu.go       their processor time
//	load/        the load generator
//	child/       the program of the load and of the servers written for it
package httpload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/bench/internal/httpload/load"
)

// Config sets up the measurement. DatabaseURL must be set to a database with the
// project's schema and users in it.
type Config struct {
	DatabaseURL string

	// Connections are the numbers of connections to measure with. Defaults to 64
	// and 256.
	Connections []int

	// Rounds is how often each server is measured, all servers in turn. Defaults
	// to 5.
	Rounds int

	// Duration is the duration of one measurement. Defaults to 2 s.
	Duration time.Duration

	// DatabaseCPU returns the processor time of the database server so far, or a
	// negative value if it is unknown. Defaults to unknown.
	DatabaseCPU func() time.Duration

	// Logf is called for each round and for servers that are skipped. Defaults to
	// none.
	Logf func(format string, args ...any)
}

func (c Config) withDefaults() Config {
	if len(c.Connections) == 0 {
		c.Connections = []int{64, 256}
	}
	if c.Rounds == 0 {
		c.Rounds = 5
	}
	if c.Duration == 0 {
		c.Duration = 2 * time.Second
	}
	if c.DatabaseCPU == nil {
		c.DatabaseCPU = func() time.Duration { return -1 }
	}
	if c.Logf == nil {
		c.Logf = func(string, ...any) {}
	}
	return c
}

// Result is one measurement. The processor times are per request, and negative
// if unknown.
type Result struct {
	Server      string
	About       string // how it is set up
	Connections int
	Round       int     // from 1
	Requests    int64   // that were answered
	Refused     int64   // that were answered
	Throughput  float64 // answered with 503 or 504; included in the percentiles
	P50, P99    time.Duration
	ServerCPU   time.Duration
	DatabaseCPU time.Duration
	LoadCPU     time.Duration

	// The memory of the process that was started, before any request and after this
	// measurement. Workers of a Python service are other processes.
	Idle, Memory Memory
}

// Reference is the server to which the others are compared: the same API on
// plain pgx.
const Reference = "quern's API on plain pgx"

// Run starts every server, compares their answers and measures them in
// interleaved rounds. A server whose libraries are not installed is skipped. A
// wrong answer is an error.
func Run(ctx context.Context, c Config) (results []Result, err error) {
	c = c.withDefaults()
	b := &bench{Config: c}
	if b.lo, b.hi, err = findUsers(ctx, c.DatabaseURL); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "quern-httpload-*"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	programs, err := build(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	b.child = programs.child
	servers, err := b.start(ctx, peers(programs, c.DatabaseURL))
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
	}()
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		s.idle = memoryOf(s.cmd.Process.Pid)
	}
	if err := compare(ctx, servers, b.lo, b.hi); err != nil {
		return nil, err
	}
	return b.rounds(ctx, servers)
}

type bench struct {
	Config
	dir    string
	child  string
	lo, hi int64
}

// findUsers returns the longest run of ids without a gap.
func findUsers(ctx context.Context, url string) (lo, hi int64, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(ctx)
	const sql = `SELECT min(id), max(id) FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS run FROM users) AS u
		GROUP BY run ORDER BY count(*) DESC LIMIT 1`
	if err := conn.QueryRow(ctx, sql).Scan(&lo, &hi); errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, errors.New("there are no users in the database to ask for")
	} else if err != nil {
		return 0, 0, err
	}
	return lo, hi, nil
}

// rounds measures all servers in turn. Each round begins with another server.
func (b *bench) rounds(ctx context.Context, servers []*server) (results []Result, err error) {
	for _, connections := range b.Connections {
		for _, s := range servers {
			// A running service has open connections, prepared statements and warm
			// caches.
			if _, err := b.measure(ctx, s, connections, 0); err != nil {
				return nil, err
			}
		}
		for round := 1; round <= b.Rounds; round++ {
			for i := range servers {
				s := servers[(i+round)%len(servers)]
				r, err := b.measure(ctx, s, connections, round)
				if err != nil {
					return nil, err
				}
				results = append(results, r)
				b.Logf("HTTP, %d connections, round %d: %s: %.0f requests a second", connections, round, s.name, r.Throughput)
			}
		}
	}
	return results, nil
}

// warmUp is the divisor of a measurement's duration for a warm-up.
const warmUp = 3

// measure runs the load against one server. Round 0 is a warm-up.
func (b *bench) measure(ctx context.Context, s *server, connections, round int) (Result, error) {
	duration := b.Duration
	if round == 0 {
		duration /= warmUp
	}
	database, server := b.DatabaseCPU(), s.cpu()
	report, err := b.load(ctx, load.Config{
		URL: s.url, Connections: connections, Lo: b.lo, Hi: b.hi, Duration: duration, Seed: uint64(round),
	})
	if err != nil {
		return Result{}, fmt.Errorf("%s, %d connections: %w", s.name, connections, err)
	}
	per := func(before, after time.Duration) time.Duration {
		if before < 0 || after < 0 {
			return -1
		}
		return (after - before) / time.Duration(report.Requests)
	}
	return Result{
		Server: s.name, About: s.about, Connections: connections, Round: round,
		Requests: report.Requests, Refused: report.Refused, Throughput: float64(report.Requests) / report.Elapsed.Seconds(),
		P50: report.P50, P99: report.P99,
		ServerCPU: per(server, s.cpu()), DatabaseCPU: per(database, b.DatabaseCPU()), LoadCPU: per(0, report.CPU),
		Idle: s.idle, Memory: memoryOf(s.cmd.Process.Pid),
	}, nil
}

// load runs the load in a new process.
func (b *bench) load(ctx context.Context, c load.Config) (report load.Report, err error) {
	cmd := exec.CommandContext(ctx, b.child, "load", "-url", c.URL,
		"-connections", strconv.Itoa(c.Connections), "-duration", c.Duration.String(),
		"-lo", strconv.FormatInt(c.Lo, 10), "-hi", strconv.FormatInt(c.Hi, 10), "-seed", strconv.FormatUint(c.Seed, 10))
	text, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return report, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return report, err
	}
	return report, json.Unmarshal(text, &report)
}

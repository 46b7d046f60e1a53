package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"quern/bench/internal/measure"
	"quern/bench/internal/peer"
	"quern/bench/internal/server"
)

// reference is the peer to which the others are compared.
const reference = "pgx"

// bench measures workloads on one database.
type bench struct {
	server *server.Server
	db     *server.Database
	peers  []*peer.Peer

	rounds   int
	duration time.Duration
	small    bool   // only check that everything runs, once and with one number of callers
	state    string // state of the database after an operation, if the workload checks it
}

// contender is one row of a cell.
type contender struct {
	name   string
	op     measure.Op
	remote *peer.Python
	main   bool         // the project or the reference
	opened func() int64 // connections opened so far; nil if they are not counted
}

// contenders returns the contenders of a workload, the reference first.
func (b *bench) contenders(w workload) []contender {
	var list []contender
	for _, p := range b.peers {
		c := contender{name: p.Name, remote: p.Remote, main: p.Name == reference || p.Name == "quern", opened: p.Opened}
		switch {
		case p.Remote != nil:
			if w.from == nil && p.Remote.Does(w.name) {
				list = append(list, c)
			}
			continue
		case w.from != nil:
			c.op = w.from(p.Ops)
		default:
			c.op = p.Ops[w.name]
		}
		if c.op != nil && (w.from == nil || c.main) {
			list = append(list, c)
		}
		for _, key := range formsOf(p, w) {
			_, form, _ := strings.Cut(key, ": ")
			list = append(list, contender{name: p.Name + ", " + form, op: p.Ops[key], main: c.main})
		}
	}
	return list
}

func formsOf(p *peer.Peer, w workload) (keys []string) {
	if w.from != nil {
		return nil
	}
	for key := range p.Ops {
		if strings.HasPrefix(key, w.name+": ") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// measure runs a workload with each number of callers.
func (b *bench) measure(ctx context.Context, w workload) ([]*measure.Cell, error) {
	list := b.contenders(w)
	if err := b.compare(ctx, w, list); err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	var cells []*measure.Cell
	callers := w.callers
	if b.small {
		callers = callers[len(callers)/2:][:1]
	}
	for _, n := range callers {
		var taking []contender
		for _, c := range list {
			if c.main || b.small || slices.Contains(w.others, n) {
				taking = append(taking, c)
			}
		}
		start := time.Now()
		cell, err := b.placed(ctx, w, n, taking)
		if err != nil {
			return nil, fmt.Errorf("%s with %d callers: %w", w.name, n, err)
		}
		logCell(cell, time.Since(start))
		cells = append(cells, cell)
	}
	if w.after != nil {
		// Repeated deletes and vacuums distort PostgreSQL's estimate of the number of
		// rows, and with it the plans of later workloads.
		return cells, b.db.Settle(ctx)
	}
	return cells, nil
}

// placed measures the contenders, with one caller on processors apart from the server's if the
// workload requires that.
func (b *bench) placed(ctx context.Context, w workload, callers int, list []contender) (cell *measure.Cell, err error) {
	if w.apart && callers == 1 {
		together, err := b.server.Apart()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, together()) }()
	}
	return b.cell(ctx, w, callers, list)
}

// cell measures the contenders round by round, in rotating order.
func (b *bench) cell(ctx context.Context, w workload, callers int, list []contender) (*measure.Cell, error) {
	cell := measure.NewCell(w.name, callers)
	results := make([][]measure.Sample, len(list))
	for round := range b.rounds {
		for i := range list {
			turn := (i + round) % len(list)
			if enough(list[turn], results[turn]) {
				continue
			}
			s, err := b.patiently(ctx, w, callers, round, list[turn])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", list[turn].name, err)
			}
			results[turn] = append(results[turn], s)
		}
	}
	for i, c := range list {
		for _, s := range results[i] {
			cell.Add(c.name, s)
		}
	}
	return cell, nil
}

// Other peers than the reference and Quern are measured in fewer rounds, and so is every
// operation that takes longer than slow, and everything on tables of several sizes.
const (
	slow        = time.Second
	fewerRounds = 3
)

// enough reports whether a contender has been measured in enough rounds.
func enough(c contender, samples []measure.Sample) bool {
	return len(samples) >= fewerRounds && (!c.main || samples[0].P50 > slow)
}

// attempts is how often a measurement is repeated if too many calls were
// refused, because another program may have used the machine.
const attempts = 3

// patiently is like sample, but repeats the measurement if calls were refused.
func (b *bench) patiently(ctx context.Context, w workload, callers, round int, c contender) (s measure.Sample, err error) {
	for range attempts {
		s, err = b.sample(ctx, w, callers, round, c)
		if !errors.Is(err, measure.ErrRefused) {
			break
		}
		logf("%s with %d callers: %s: %v", w.name, callers, c.name, err)
		if w.after != nil {
			err = errors.Join(err, w.after(ctx, b))
		}
	}
	return s, err
}

// sample measures a contender once and checks that it did the work that it
// reports.
func (b *bench) sample(ctx context.Context, w workload, callers, round int, c contender) (s measure.Sample, err error) {
	l := measure.Load{
		Workload: w.name, Callers: callers, Duration: b.duration, Lo: 1, Hi: max(1, b.db.Users),
		Existing: b.db.Existing,
		// All contenders of a round read the same rows.
		Seed:   uint64(round + 1),
		Prefix: fmt.Sprintf("r%d-%s-", round, strings.ReplaceAll(c.name, " ", "")),
	}
	if round == 0 && c.op != nil && w.after == nil {
		// This is the warm-up. In all other rounds, connections, plans and memory are warm
		// already.
		warm := l
		warm.Duration /= 5
		if _, err := measure.Run(ctx, c.op, warm); err != nil {
			return s, err
		}
	}
	before, err := b.counted(ctx, w)
	if err != nil {
		return s, err
	}
	var opened int64
	if c.opened != nil {
		opened = c.opened()
	}
	cpu, kernel := b.server.CPU()
	if c.remote != nil {
		s, err = c.remote.Run(ctx, l)
	} else {
		s, err = measure.Run(ctx, c.op, l)
	}
	if err != nil {
		return s, err
	}
	s.ServerCPU, s.ServerKernel = b.server.CPU()
	if s.ServerCPU >= 0 {
		s.ServerCPU, s.ServerKernel = s.ServerCPU-cpu, s.ServerKernel-kernel
	}
	after, err := b.counted(ctx, w)
	if err != nil {
		return s, err
	}
	if c.opened != nil {
		s.Connections = c.opened() - opened
	}
	if err := w.check(s, after-before); err != nil {
		return s, err
	}
	if err := b.same(ctx, w); err != nil {
		return s, err
	}
	if w.after != nil {
		return s, w.after(ctx, b)
	}
	return s, nil
}

// counted returns a number from the database that shows how much work a peer
// did.
func (b *bench) counted(ctx context.Context, w workload) (int64, error) {
	if w.counts == "" {
		return 0, nil
	}
	return b.db.Number(ctx, w.counts)
}

// check compares the work that a peer reports with the database.
func (w workload) check(s measure.Sample, counted int64) error {
	if w.counts == "" {
		return nil
	}
	want := w.perOp * s.Ops
	if w.perOp == 0 {
		want = s.Inserted
	}
	if counted != want {
		return fmt.Errorf("it reports %d operations, which are %d rows, but there are %d", s.Ops, want, counted)
	}
	return nil
}

// same checks that the database has the same state as after the first
// contender.
func (b *bench) same(ctx context.Context, w workload) error {
	if w.state == "" {
		return nil
	}
	state, err := b.db.Text(ctx, w.state)
	switch {
	case err != nil:
		return err
	case b.state == "":
		b.state = state
	case b.state != state:
		return fmt.Errorf("%w: the state of the database is %s, and that of the reference is %s", errDiffers, state, b.state)
	}
	return nil
}

var errDiffers = errors.New("its answer differs from the reference's")

// compare makes every contender answer the same questions and compares the
// answers, so that no peer is faster by doing less.
func (b *bench) compare(ctx context.Context, w workload, list []contender) error {
	if w.compared == 0 {
		return nil
	}
	var ids []int64
	l := measure.Load{Workload: w.name, Lo: 1, Hi: b.db.Users, Seed: 7}
	for in := measure.Fixed(nil, l); len(ids) < w.compared; {
		ids = append(ids, in.After(int(min(peer.LongList, b.db.Users-1)))+1)
	}
	var want string
	for _, c := range list {
		got, err := answers(ctx, w, c, l, ids)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		switch {
		case want == "":
			want = got
		case got == "" && c.remote != nil:
			// This peer does not compare its answers. Instead, the rows that it stored are
			// counted.
		case got != want:
			return fmt.Errorf("%s: %w", c.name, errDiffers)
		}
		if w.after != nil {
			// All contenders insert the same rows.
			if err := w.after(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// answers returns the checksum of a contender's answers.
func answers(ctx context.Context, w workload, c contender, l measure.Load, ids []int64) (string, error) {
	if c.remote != nil {
		return c.remote.Checksum(ctx, w.name, ids)
	}
	l.Prefix = "same-"
	f := measure.NewFold()
	in := measure.Fixed(ids, l)
	for range ids {
		if err := c.op(ctx, in, f); err != nil {
			return "", err
		}
	}
	return f.Sum(), nil
}

// logCell prints the results of a cell on the terminal.
func logCell(c *measure.Cell, took time.Duration) {
	fmt.Fprintf(os.Stderr, "%s, %d callers (%.1f s)\n", c.Workload, c.Callers, took.Seconds())
	for _, name := range c.Order {
		s := c.Summarize(name, reference)
		fmt.Fprintf(os.Stderr, "  %-45s %10.0f /s %6.2f  p50 %8v p99 %8v  CPU %.2f", name, s.Throughput, s.Ratio,
			s.P50.Round(time.Microsecond), s.P99.Round(time.Microsecond), s.RatioCPU)
		if s.Refused > 0 {
			fmt.Fprintf(os.Stderr, "  %d refused", s.Refused)
		}
		fmt.Fprintln(os.Stderr)
	}
}

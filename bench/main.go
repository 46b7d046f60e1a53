// Command bench measures Quern beside what one would take instead: the same
// work, on the same rows of the same server, with answers that are compared.
//
//	go run .                            all of it, about ten minutes; writes ../docs/benchmarks.md
//	go run . -only point,insert         some workloads, printed and not written
//	go run . -smoke                     everything once and small: that nothing rots
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	only     string
	callers  numbers
	mainOnly bool
	rounds   int
	duration time.Duration
	rows     int
	out      string
	smoke    bool
	profile  string
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "the `workloads` to measure, separated by commas, and sizes for those on tables of several sizes; nothing is written then unless -o says where")
	flag.Var(&o.callers, "callers", "the `numbers` of callers to measure the workloads on the main database with, separated by commas, instead of their own")
	flag.BoolVar(&o.mainOnly, "main", false, "measure no peer there but the reference and Quern")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	flag.DurationVar(&o.duration, "duration", 300*time.Millisecond, "how long each measurement takes at least")
	flag.IntVar(&o.rows, "load", 1_000_000, "how many `rows` the bulk load has")
	flag.StringVar(&o.out, "o", "", "the `folder` for the report and the plots (default ../docs)")
	flag.BoolVar(&o.smoke, "smoke", false, "run everything once and small, compare the answers and write nothing")
	flag.StringVar(&o.profile, "cpuprofile", "", "the `file` for a profile of this process's time, for go tool pprof")
	flag.Parse()
	if os.Getenv("GOGC") == "" {
		// As cmd/server has it, for every peer in this process.
		debug.SetGCPercent(400)
	}
	if o.out == "" && o.only == "" && !o.smoke {
		o.out = filepath.Join("..", "docs")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// numbers are a flag's, separated by commas.
type numbers []int

func (n *numbers) String() string { return strings.Trim(fmt.Sprint(*n), "[]") }

func (n *numbers) Set(list string) error {
	for text := range strings.SplitSeq(list, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || number < 1 {
			return fmt.Errorf("%q is no number of callers", text)
		}
		*n = append(*n, number)
	}
	return nil
}

// wanted says whether a workload was asked for.
func (o options) wanted(name string) bool {
	if o.only == "" {
		return true
	}
	for n := range strings.SplitSeq(o.only, ",") {
		if strings.TrimSpace(n) == name {
			return true
		}
	}
	return false
}

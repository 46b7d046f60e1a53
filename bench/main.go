// Command bench compares Quern with its alternatives. All do the same work on the same rows of
// the same server, and their answers are compared.
//
//	go run .                            everything, about ten minutes; writes ../docs/benchmarks.md
//	go run . -only point,insert         some workloads, printed but not written
//	go run . -smoke                     everything once with little data, as a test
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
	flag.StringVar(&o.only, "only", "", "the `workloads` to measure, separated by commas, and sizes for those on tables of several sizes; the report is then written only with -o")
	flag.Var(&o.callers, "callers", "the `numbers` of callers for the workloads on the main database, separated by commas, instead of their defaults")
	flag.BoolVar(&o.mainOnly, "main", false, "measure only the reference and Quern there")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each workload is measured")
	flag.DurationVar(&o.duration, "duration", 300*time.Millisecond, "minimum duration of each measurement")
	flag.IntVar(&o.rows, "load", 1_000_000, "number of `rows` of the bulk load")
	flag.StringVar(&o.out, "o", "", "the `directory` for the report and the plots (default ../docs)")
	flag.BoolVar(&o.smoke, "smoke", false, "run everything once with little data, compare the answers and write nothing")
	flag.StringVar(&o.profile, "cpuprofile", "", "the `file` for a CPU profile of this process, for go tool pprof")
	flag.Parse()
	if os.Getenv("GOGC") == "" {
		// As in cmd/server, for all peers in this process.
		debug.SetGCPercent(200)
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

// numbers is a flag with numbers separated by commas.
type numbers []int

func (n *numbers) String() string { return strings.Trim(fmt.Sprint(*n), "[]") }

func (n *numbers) Set(list string) error {
	for text := range strings.SplitSeq(list, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || number < 1 {
			return fmt.Errorf("%q is not a number of callers", text)
		}
		*n = append(*n, number)
	}
	return nil
}

// wanted reports whether a workload was requested.
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

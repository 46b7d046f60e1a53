package report

import (
	"bytes"
	"fmt"

	"quern/bench/internal/measure"
)

// Uncounted is the store on a database without kept counts.
const Uncounted = "quern, no kept counts"

// The workloads of kept counts.
const (
	PostsOfMany = "posts of 20,000 users"
	PostsOfOne  = "posts of one user"
	PostsCopied = "posts by COPY, 1,000 at a time"
)

const countsIntro = `The store's own inserts of posts, with counts that triggers keep and a background process folds, against the same store on a database
without those triggers, but with the index on created_at that statistics needed before. The processor time includes the folds of
all measured posts. The ratios are to the database without kept counts, and autovacuum is off.

`

// counts writes the measurements of kept counts.
func (r *Report) counts(b *bytes.Buffer) {
	if len(r.Counts) == 0 {
		return
	}
	fmt.Fprintf(b, "## What kept counts cost\n\n%s", countsIntro)
	t := newTable("", "callers", "", "op/s", "ratio", "CPU client", "CPU server", "ratio of the CPU", "p99")
	for _, c := range r.Counts {
		for _, who := range c.Order {
			sum := c.Summarize(who, Uncounted)
			t.add(c.Workload, fmt.Sprint(c.Callers), mark(who), rate(sum.Throughput), ratio(sum.Ratio),
				took(sum.ClientCPU), took(sum.ServerCPU), ratio(sum.RatioCPU), took(sum.P99))
		}
	}
	t.write(b)
}

// countsTargets adds the targets for the cost of kept counts.
func (r *Report) countsTargets(t *table) {
	for _, c := range r.Counts {
		if len(c.Samples[project]) == 0 {
			continue
		}
		least, got := countsLimit(c), c.Summarize(project, Uncounted).Ratio
		t.add(fmt.Sprintf("%s, %d callers, against no kept counts", c.Workload, c.Callers), limit(false, least), ratio(got), verdict(false, got, least))
	}
}

func countsLimit(c *measure.Cell) float64 {
	if c.Callers == 1 && c.Workload == PostsOfMany {
		return 0.92
	}
	return 0.9
}

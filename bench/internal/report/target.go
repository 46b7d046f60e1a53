package report

import (
	"bytes"
	"fmt"

	"quern/bench/internal/measure"
)

// target is a target of the project.
type target struct {
	what     string
	workload string
	callers  int
	who      string // name of the contender; the project by default
	against  string // the reference by default
	value    func(measure.Summary) float64
	most     bool // the limit is a maximum, otherwise a minimum
	limit    float64
}

func throughput(s measure.Summary) float64  { return s.Ratio }
func p99(s measure.Summary) float64         { return s.RatioP99 }
func connections(s measure.Summary) float64 { return s.Connections }

var targets = []target{
	{what: "point read, 16 callers", workload: "point", callers: 16, limit: 1.9},
	{what: "point read, 64 callers", workload: "point", callers: 64, limit: 4.5},
	{what: "point read, 256 callers", workload: "point", callers: 256, limit: 8},
	{what: "p99 of a point read, 64 callers", workload: "point", callers: 64, value: p99, most: true, limit: 0.6},
	{what: "p99 of a point read, 256 callers", workload: "point", callers: 256, value: p99, most: true, limit: 0.6},
	{what: "point read, one call in ten cancelled, 8 callers", workload: "point-cancel", callers: 8, limit: 3.5},
	{
		what: "connections opened for 1000 calls of it", workload: "point-cancel", callers: 8,
		value: connections, most: true, limit: 0,
	},
	{what: "insert, 16 callers", workload: "insert", callers: 16, limit: 2.2},
	{what: "insert, 64 callers", workload: "insert", callers: 64, limit: 5},
	{what: "insert, 256 callers", workload: "insert", callers: 256, limit: 8},
	{what: "insert, 1 % conflicts, 64 callers", workload: "insert-conflict", callers: 64, limit: 5},
	{what: "90 % reads, 10 % inserts, 64 callers", workload: "mixed", callers: 64, limit: 4.5},
	{what: "transaction of two inserts, 1 caller", workload: "tx", callers: 1, who: "quern, without the marker", limit: 1.4},
	{what: "transaction of two inserts, 64 callers", workload: "tx", callers: 64, who: "quern, without the marker", limit: 1.4},
	{what: "the same with its marker, 1 caller", workload: "tx", callers: 1, limit: 1.2},
	{what: "the same with its marker, 64 callers", workload: "tx", callers: 64, limit: 1.2},
	{what: "1000 users with 10 posts each", workload: "eager", callers: 1, limit: 1.25},
	{what: "the same against asyncpg", workload: "eager", callers: 1, against: "asyncpg", limit: 1},
	{what: "list of 1,000", workload: "list-1000", callers: 1, limit: 1},
	{what: "list of 10,000", workload: "list-10000", callers: 1, limit: 1},
	{what: "stream of 1,000", workload: "stream-1000", callers: 1, limit: 1.25},
	{what: "stream of 10,000", workload: "stream-10000", callers: 1, limit: 1.25},
	{what: "page of 100 as JSON", workload: "json-page", callers: 1, limit: 1.15},
	{what: "1000 users with 10 posts each as JSON", workload: "json-tree", callers: 1, limit: 1.6},
	{what: "users with more than 5 posts, against the join-first form", workload: "aggregate", callers: 1, limit: 4},
	{what: "the first 50 users with more than 5 posts, against the join-first form", workload: "stats-page", callers: 1, limit: 50},
	{what: "the totals, against counting", workload: "overview", callers: 1, limit: 10},
	{what: "the 50 most used tags, against counting", workload: "top-tags", callers: 1, limit: 50},
	{what: "the posts of 30 days, against counting", workload: "posts-per-day", callers: 1, limit: 2},
	{what: "bulk update of 10,000 rows", workload: "bulk-update", callers: 1, limit: 1},
	{what: "bulk load against CopyFrom", workload: "bulk-load", callers: 1, limit: 0.97},
	{what: `bulk load against psql \copy`, workload: "bulk-load", callers: 1, against: `pgx, psql \copy`, limit: 1},
	{what: "bulk load, sorted, against CopyFrom", workload: "bulk-load", callers: 1, who: "quern, sorted by username first", limit: 1.15},
	{
		what: `import, checked and merged, against psql \copy`, workload: "bulk-load", callers: 1,
		who: "quern, import, checked and merged", against: `pgx, psql \copy`, limit: 1.35,
	},
	{
		what: "page at nine tenths of a million against the first", workload: "deep-page", callers: 1,
		who: "quern, deep", against: "quern", limit: 0.83,
	},
}

// targets writes each target with the figure of this run.
func (r *Report) targets(b *bytes.Buffer) {
	fmt.Fprintf(b, "## Targets\n\nA target is a ratio to pgx unless it names another peer.\n\n")
	r.targetTable().write(b)
}

func (r *Report) targetTable() *table {
	t := newTable("what", "target", "this run", "")
	for _, target := range targets {
		cell := r.find(target.workload, target.callers)
		if cell == nil {
			continue
		}
		who, against, value := or(target.who, project), or(target.against, reference), target.value
		if value == nil {
			value = throughput
		}
		if len(cell.Samples[who]) == 0 || len(cell.Samples[against]) == 0 {
			continue
		}
		got := value(cell.Summarize(who, against))
		t.add(target.what, limit(target.most, target.limit), ratio(got), verdict(target.most, got, target.limit))
	}
	r.worst(t, 1, 0.95, false, throughput, "one caller, any operation: the lowest rate")
	r.worst(t, 1, 1.05, true, func(s measure.Summary) float64 { return s.RatioCPU }, "one caller, any operation: the highest processor time")
	r.worst(t, 4, 0.9, false, throughput, "4 callers, any operation: the lowest rate")
	r.httpTargets(t)
	r.taskTargets(t)
	r.countsTargets(t)
	return t
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func limit(most bool, f float64) string {
	if most {
		return "≤ " + number(f)
	}
	return "≥ " + number(f)
}

// met is the result for a target that was reached.
const met = "met"

func verdict(most bool, got, limit float64) string {
	if most && got <= limit || !most && got >= limit {
		return met
	}
	return "**not met**"
}

// find searches the cells of all databases, and those of the largest table
// size.
func (r *Report) find(workload string, callers int) *measure.Cell {
	var cells []*measure.Cell
	for _, s := range r.Sections {
		cells = append(cells, s.Cells...)
	}
	cells = append(cells, r.Sizes[million]...)
	for _, c := range cells {
		if c.Workload == workload && c.Callers == callers {
			return c
		}
	}
	return nil
}

// million is the largest table size.
const million = 1_000_000

// worst adds the lowest or highest value of all workloads with a number of
// callers.
func (r *Report) worst(t *table, callers int, lim float64, most bool, value func(measure.Summary) float64, what string) {
	var worst float64
	var where string
	for _, s := range r.Sections {
		for _, c := range s.Cells {
			if c.Callers != callers || len(c.Samples[project]) == 0 || c.Workload == "bulk-load" {
				continue
			}
			got := value(c.Summarize(project, reference))
			if got >= 0 && (where == "" || most && got > worst || !most && got < worst) {
				worst, where = got, c.Workload
			}
		}
	}
	if where != "" {
		t.add(what, limit(most, lim), ratio(worst)+", "+where, verdict(most, worst, lim))
	}
}

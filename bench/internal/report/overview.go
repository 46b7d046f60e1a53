package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"quern/bench/internal/httpload"
	"quern/bench/internal/measure"
)

// overview writes the ratios of all peers in one table.
func (r *Report) overview(b *bytes.Buffer) {
	var names []string
	for _, p := range r.Peers {
		if p.Name != reference && r.takesPart(p.Name) {
			names = append(names, p.Name)
		}
	}
	fmt.Fprint(b, "## All ratios\n\n")
	t := newTable(append([]string{"", "callers", "pgx, op/s"}, names...)...)
	for _, s := range r.Sections {
		for _, c := range s.Cells {
			row := []string{c.Workload, fmt.Sprint(c.Callers), rate(c.Summarize(reference, reference).Throughput)}
			for _, name := range names {
				row = append(row, short(c, name))
			}
			t.add(row...)
		}
	}
	t.write(b)
}

// takesPart reports whether a peer has been measured in a section.
func (r *Report) takesPart(name string) bool {
	for _, s := range r.Sections {
		for _, c := range s.Cells {
			if len(c.Samples[name]) > 0 {
				return true
			}
		}
	}
	return false
}

// short returns a peer's ratio, or "" if it did not take part.
func short(c *measure.Cell, name string) string {
	if len(c.Samples[name]) == 0 {
		return ""
	}
	text := ratio(c.Summarize(name, reference).Ratio)
	if name == project {
		return "**" + text + "**"
	}
	return text
}

// sizesIntro is the text above the table of sizes.
const sizesIntro = "One caller, on tables with the given numbers of users and twice as many posts. The times are medians of one operation. The\n" +
	"aggregate returns all users with more than 5 posts, so it grows with its result. The statistics of Quern are kept counts.\n\n"

// sizes writes the cost of some operations on tables of several sizes.
func (r *Report) sizes(b *bytes.Buffer) {
	if len(r.Sizes) == 0 {
		return
	}
	fmt.Fprint(b, "## Cost against the size of the table\n\n",
		sizesIntro)
	sizes := r.sizeList()
	head := []string{"", "peer"}
	for _, n := range sizes {
		head = append(head, Thousands(n)+" users")
	}
	t := newTable(head...)
	for i, first := range r.Sizes[sizes[len(sizes)-1]] {
		for _, who := range first.Order {
			row := []string{first.Workload, mark(who)}
			for _, n := range sizes {
				row = append(row, took(r.Sizes[n][i].Summarize(who, reference).P50))
			}
			t.add(row...)
		}
	}
	t.write(b)
}

func (r *Report) sizeList() []int64 {
	var sizes []int64
	for n := range r.Sizes {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	return sizes
}

// http writes the measurements over HTTP.
func (r *Report) http(b *bytes.Buffer) {
	if len(r.HTTP) == 0 {
		return
	}
	fmt.Fprintf(b, "## Over HTTP\n\nGET /v1/users/{id} with random ids, from a load generator on the same machine. Each server and the load "+
		"generator are separate processes.\nThe ratios are to %s.\n\n", httpload.Reference)
	t := newTable("connections", "server", "requests/s", "ratio", "p50", "p99", "CPU server", "CPU database")
	for _, c := range r.HTTP {
		for _, who := range c.Order {
			sum := c.Summarize(who, httpload.Reference)
			t.add(fmt.Sprint(c.Callers), who, rate(sum.Throughput), ratio(sum.Ratio), took(sum.P50), took(sum.P99),
				took(sum.ClientCPU), took(sum.ServerCPU))
		}
	}
	t.write(b)
	r.memory(b)
}

// httpTargets adds the targets for HTTP.
func (r *Report) httpTargets(t *table) {
	for _, c := range r.HTTP {
		limits := map[int]float64{64: 1.7, 256: 1.9}
		least, ok := limits[c.Callers]
		if !ok || len(c.Samples[project]) == 0 {
			continue
		}
		got := c.Summarize(project, httpload.Reference).Ratio
		t.add(fmt.Sprintf("HTTP, %d connections, against the same API on plain pgx", c.Callers),
			limit(false, least), ratio(got), verdict(false, got, least))
		for _, who := range c.Order {
			if strings.HasPrefix(who, "FastAPI") {
				got := c.Summarize(project, who).Ratio
				t.add(fmt.Sprintf("HTTP, %d connections, against %s", c.Callers, who), limit(false, 12), ratio(got), verdict(false, got, 12))
			}
		}
	}
}

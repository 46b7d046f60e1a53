package report

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"quern/bench/internal/httpload"
	"quern/bench/internal/measure"
)

// The fixed texts of the summary. TestCommittedForm checks that the committed document has them.
const (
	about = `Quern is compared with the libraries that a team would otherwise use. Every peer does the same work on the same rows of the same
server, with a pool of as many connections. The answers of all peers are compared before the measurement, so that no peer is fast
because it does less. The reference is **pgx written by hand**.
`
	ratios = `A ratio is throughput divided by that of pgx in the same round, so more is better. The figure is the median over the rounds. Within a
round every peer is measured once, in an order that rotates.
`
	headlinesHead = "| operation | callers | quern | fastest other peer |"
	slowerHead    = "Quern is **slower** than a peer here (ratios to pgx, which is 1.00):\n"
	missedHead    = "Targets that were **not met**:\n"
)

// headlines are the measurements of the summary.
var headlines = []struct {
	what, workload string
	callers        int
}{
	{"point read", "point", 1},
	{"point read", "point", 64},
	{"point read", "point", 256},
	{"insert", "insert", 1},
	{"insert", "insert", 64},
	{"90 % reads, 10 % inserts", "mixed", 64},
	{"transaction of two inserts", "tx", 64},
	{"1,000 users with 10 posts each", "eager", 1},
	{"list of 10,000 rows", "list-10000", 1},
	{"page of 100 rows as JSON", "json-page", 1},
	{"bulk update of 10,000 rows", "bulk-update", 1},
	{"bulk load of a million rows", "bulk-load", 1},
}

// summary writes one screen: the workloads, the machine, the most important
// ratios, and where Quern is slower.
func (r *Report) summary(b *bytes.Buffer) {
	fmt.Fprintf(b, "## Summary\n\n%s\n%s\nMeasured on %s at commit %s, in %d rounds. Machine: %s. Server: %s.\n\n",
		about, ratios, time.Now().UTC().Format("2 January 2006"), r.Commit, r.Rounds, machine(), r.version())
	t := newTable("operation", "callers", "quern", "fastest other peer")
	for _, h := range headlines {
		cell := r.find(h.workload, h.callers)
		if cell == nil || len(cell.Samples[project]) == 0 {
			continue
		}
		t.add(h.what, fmt.Sprint(h.callers), "**"+ratio(cell.Summarize(project, reference).Ratio)+"**", fastest(cell))
	}
	for _, c := range r.HTTP {
		if len(c.Samples[project]) > 0 && len(c.Samples[httpload.Reference]) > 0 {
			t.add("GET of a user over HTTP, against "+httpload.Reference, fmt.Sprint(c.Callers),
				"**"+ratio(c.Summarize(project, httpload.Reference).Ratio)+"**", "")
		}
	}
	t.write(b)
	list(b, slowerHead, r.slower())
	list(b, missedHead, r.missed())
}

// version is the server's version, the first of its facts.
func (r *Report) version() string {
	if len(r.Server) == 0 {
		return "unknown"
	}
	version, _, _ := strings.Cut(r.Server[0], " (")
	return version
}

// fastest names the fastest peer besides Quern and the reference, with its ratio.
func fastest(c *measure.Cell) string {
	best, text := -1.0, ""
	for _, who := range c.Order {
		if who == project || who == reference || strings.Contains(who, ", ") {
			continue
		}
		if got := c.Summarize(who, reference).Ratio; got > best {
			best, text = got, who+" "+ratio(got)
		}
	}
	return text
}

// slower lists the comparisons in which a peer is faster than Quern.
func (r *Report) slower() []string {
	var all []string
	for _, s := range r.Sections {
		for _, c := range s.Cells {
			if len(c.Samples[project]) == 0 || c.Workload == "bulk-load" {
				continue
			}
			mine := c.Summarize(project, reference).Ratio
			type peer struct {
				name  string
				ratio float64
			}
			var faster []peer
			for _, who := range c.Order {
				if got := c.Summarize(who, reference).Ratio; who != project && !strings.Contains(who, ", ") && got > mine {
					faster = append(faster, peer{who, got})
				}
			}
			slices.SortStableFunc(faster, func(a, b peer) int { return cmp.Compare(b.ratio, a.ratio) })
			var names []string
			for _, p := range faster {
				names = append(names, p.name+" "+ratio(p.ratio))
			}
			if names != nil {
				all = append(all, fmt.Sprintf("%s, %s: quern %s, %s", c.Workload, callers(c.Callers), ratio(mine), strings.Join(names, ", ")))
			}
		}
	}
	return all
}

func callers(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return fmt.Sprintf("%d callers", n)
}

// missed lists the targets that were not met.
func (r *Report) missed() []string {
	var all []string
	for _, row := range r.targetTable().rows {
		if row[3] != met {
			all = append(all, fmt.Sprintf("%s: wanted %s, measured %s", row[0], row[1], row[2]))
		}
	}
	return all
}

// list writes lines as a list below a head, or says that there are none.
func list(b *bytes.Buffer, head string, lines []string) {
	fmt.Fprintf(b, "%s\n", head)
	if len(lines) == 0 {
		lines = []string{"none"}
	}
	for _, line := range lines {
		fmt.Fprintf(b, "- %s\n", line)
	}
	fmt.Fprintln(b)
}

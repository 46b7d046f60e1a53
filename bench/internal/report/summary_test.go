package report

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quern/bench/internal/httpload"
	"quern/bench/internal/measure"
)

// example is a report with a cell for each measurement that the document refers to. The peer "swift" is
// faster than Quern only at point reads with 64 callers.
func example() *Report {
	cell := func(workload string, callers int, names ...string) *measure.Cell {
		c := measure.NewCell(workload, callers)
		for i, name := range names {
			ops := int64(1000 + 100*i)
			if name == "swift" && workload == "point" && callers == 64 {
				ops = 10_000
			}
			c.Add(name, measure.Sample{Ops: ops, Elapsed: time.Second, P50: time.Millisecond, P99: time.Millisecond})
		}
		return c
	}
	r := &Report{
		Peers: []Peer{{Name: reference}, {Name: "swift"}, {Name: project}}, Server: []string{"PostgreSQL 15.18 (Debian)"}, Rounds: 1,
		Sizes: map[int64][]*measure.Cell{million: {cell("deep-page", 1, reference, project, "quern, deep")}},
		HTTP:  []*measure.Cell{cell("", 64, httpload.Reference, project)},
	}
	seen := map[*measure.Cell]bool{}
	s := Section{Title: "One database", What: map[string]string{}}
	add := func(workload string, callers int) {
		if c := r.find(workload, callers); c == nil && !seen[c] {
			s.Cells = append(s.Cells, cell(workload, callers, reference, "swift", project))
			r.Sections = []Section{s}
		}
	}
	for _, h := range headlines {
		add(h.workload, h.callers)
	}
	for _, t := range targets {
		add(t.workload, t.callers)
	}
	for _, w := range whereRows {
		add(w.workload, w.callers)
	}
	return r
}

// TestSummary checks that the summary names the faster peer and the missed target, and no others.
func TestSummary(t *testing.T) {
	t.Parallel()
	r := example()
	if diff := cmp.Diff([]string{"point, 64 callers: quern 1.20, swift 10.0"}, r.slower()); diff != "" {
		t.Errorf("slower (-want +got):\n%s", diff)
	}
	missed := strings.Join(r.missed(), "\n")
	if !strings.Contains(missed, "point read, 64 callers: wanted ≥ 4.50, measured 1.20") || strings.Contains(missed, "list of 1,000:") {
		t.Errorf("missed:\n%s", missed)
	}
	var b bytes.Buffer
	r.summary(&b)
	if want := "| point read | 64 | **1.20** | swift 10.0 |\n"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
}

// TestCommittedForm compares the committed document with a newly written one. Both must have the same
// headings, table heads and texts. The figures belong to the committed run.
func TestCommittedForm(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.ReadFile("../../profile.md")
	if err != nil {
		t.Fatal(err)
	}
	r := example()
	r.Profile = string(profile)
	committed, written := string(b), string(r.markdown(nil))
	headings := regexp.MustCompile(`(?m)^##? .*$`)
	// The example does not have these sections of the bench.
	others := strings.NewReplacer("## Bulk load\n", "", "## Tasks beside River\n", "", "## What kept counts cost\n", "")
	want := headings.FindAllString(written, -1)
	got := headings.FindAllString(others.Replace(committed), -1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headings (-written now +committed):\n%s", diff)
	}
	for _, m := range regexp.MustCompile(`(?m)^\| .* \|\n\|(?:---:?\|)+\n`).FindAllString(written, -1) {
		head, _, _ := strings.Cut(m, "\n")
		if strings.HasPrefix(head, "|  | callers | pgx") || strings.Contains(head, " users |") {
			continue // the table is about peers or sizes
		}
		if !strings.Contains(committed, head+"\n") {
			t.Errorf("no table with the head %s", head)
		}
	}
	for _, text := range []string{about, ratios, headlinesHead, slowerHead, missedHead, sizesIntro, string(profile), notMeasured} {
		if !strings.Contains(committed, text) {
			t.Errorf("not in the document: %q", text)
		}
	}
}

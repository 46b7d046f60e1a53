// Package report writes the results of the bench: tables in Markdown, the
// project's targets, and plots.
//
//	summary.go    the first screen
//	report.go     the document from top to bottom
//	table.go      tables and number formats
//	target.go     the project's targets
//	overview.go   the ratios of all peers, sizes, HTTP
//	tasks.go      tasks beside River
//	counts.go     what kept counts cost to writers
//	where.go      where the time goes
//	plot.go       plots as SVG
//	plots.go      the selection of plots
//	machine.go    the machine of the measurement
package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"quern/bench/internal/httpload"
	"quern/bench/internal/measure"
)

// The names of the reference and of the project among the contenders.
const (
	reference = "pgx"
	project   = "quern"
)

// Peer describes a peer.
type Peer struct{ Name, Version, About string }

// Section is a group of workloads that were measured on one database.
type Section struct {
	Title string
	Intro string
	Cells []*measure.Cell
	What  map[string]string // a description of one operation of a workload
}

// Report is the content of the document.
type Report struct {
	Sections []Section
	Sizes    map[int64][]*measure.Cell // by the number of users in the table
	HTTP     []*measure.Cell
	Tasks    []*measure.Cell
	Counts   []*measure.Cell
	Found    []httpload.Result // each measurement over HTTP, for the memory
	Peers    []Peer
	Server   []string // facts
	Data     string   // the file system of the data
	Rounds   int
	Duration time.Duration
	Took     time.Duration
	Commit   string // that was measured
	Profile  string // handwritten Markdown
}

// Write writes benchmarks.md and the plots in the directory benchmarks below
// dir.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plots, err := r.plots(filepath.Join(dir, "benchmarks"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), r.markdown(plots), 0o644)
}

func (r *Report) markdown(plots []plotFile) []byte {
	b := &bytes.Buffer{}
	fmt.Fprint(b, "# Benchmarks\n\n<!-- Written by `make bench`: change bench/ and not this file. -->\n\n")
	r.summary(b)
	for _, p := range plots {
		fmt.Fprintf(b, "![%s](benchmarks/%s)\n\n", p.title, p.file)
	}
	r.overview(b)
	r.targets(b)
	r.setting(b)
	for _, s := range r.Sections {
		s.write(b)
	}
	r.sizes(b)
	r.http(b)
	r.tasks(b)
	r.counts(b)
	r.where(b)
	if r.Profile != "" {
		fmt.Fprintf(b, "%s\n", r.Profile)
	}
	fmt.Fprint(b, notMeasured)
	return b.Bytes()
}

const notMeasured = `## Not measured

- A network. Client and server share the machine, its cores and its memory. A round trip costs some 20 µs here, and ten to a
  hundred times that between machines, so a saved round trip gains more there.
- More cores. The server must share two with its clients here.
- Data that do not fit in memory, and disks. All rows that are read are cached. Commits do wait for the disk.
- Replicas, failover and connection poolers. Their tests are in ` + "`internal/faults` and `postgres`" + `.
- Hours. The longest measurement takes seconds, and autovacuum is off.
- One caller is noisy, because a scheduler that moves a process costs as much as a statement. Compare the processor time there.
`

// setting describes how the measurement was made.
func (r *Report) setting(b *bytes.Buffer) {
	fmt.Fprintf(b, "## How it was measured\n\n")
	fmt.Fprintf(b, "`make bench`, about ten minutes (%s this time), on %s, at commit %s.\n\n",
		r.Took.Round(time.Second), time.Now().UTC().Format("2 January 2006"), r.Commit)
	fmt.Fprintf(b, "- Machine: %s\n- Data on: %s\n", machine(), r.Data)
	for _, fact := range r.Server {
		fmt.Fprintf(b, "- Server: %s\n", fact)
	}
	b.WriteString("- Go: GOGC=200 for every peer, as in `server serve`\n")
	fmt.Fprintf(b, "- %d rounds. Each measurement takes %v or one operation, whichever is longer. Operations of more than a second, tables of several sizes, and other peers than pgx and Quern are measured in three of them. With one caller, point reads, pages, inserts and transactions are measured with the client and the server on different processors, because the kernel puts both on one in some rounds and not in others, which more than doubles the rate. p50 and p99 are the medians of the rounds\n", r.Rounds, r.Duration)
	fmt.Fprintf(b, "- Processor time is that of one operation, in the client process and in all processes of the server. "+
		"Allocations are those of one operation, and are known for Go only\n\n")
	fmt.Fprintf(b, "`cd bench && go run . -only point,insert -rounds 9` measures less and prints it. `-main` omits all peers but the reference,\n"+
		"`-callers 8,32` sets the numbers of callers, and `-load 100000` the rows of the bulk load. BENCH_DATABASE_URL names another\n"+
		"server, as a superuser of it. `-h` lists all options.\n\n")
	t := newTable("peer", "version", "how it is set up")
	for _, p := range r.Peers {
		t.add(p.Name, p.Version, p.About)
	}
	t.write(b)
}

// write writes a section: one table for each workload.
func (s Section) write(b *bytes.Buffer) {
	if len(s.Cells) == 0 {
		return
	}
	fmt.Fprintf(b, "## %s\n\n%s\n\n", s.Title, s.Intro)
	for i := 0; i < len(s.Cells); {
		name := s.Cells[i].Workload
		fmt.Fprintf(b, "### %s\n\nOne operation: %s.\n\n", name, s.What[name])
		t := newTable("callers", "peer", "op/s", "ratio", "p50", "p99", "CPU client", "CPU server", "allocations", "memory")
		var notes []string
		for ; i < len(s.Cells) && s.Cells[i].Workload == name; i++ {
			cell := s.Cells[i]
			for _, who := range cell.Order {
				sum := cell.Summarize(who, reference)
				t.add(fmt.Sprint(cell.Callers), mark(who), rate(sum.Throughput), ratio(sum.Ratio), took(sum.P50), took(sum.P99),
					took(sum.ClientCPU), took(sum.ServerCPU), number(sum.Mallocs), size(sum.Bytes))
				if name == "point-cancel" {
					notes = append(notes, fmt.Sprintf("%s opened %s connections for a thousand calls that completed", who, number(sum.Connections)))
				}
				if sum.Refused > 0 {
					notes = append(notes, fmt.Sprintf("%d calls of %s with %d callers exceeded their deadline and are not counted", sum.Refused, who, cell.Callers))
				}
			}
		}
		t.write(b)
		for _, note := range notes {
			fmt.Fprintf(b, "- %s\n", note)
		}
		if notes != nil {
			fmt.Fprintln(b)
		}
	}
}

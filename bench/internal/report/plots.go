package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"quern/bench/internal/measure"
)

// plotFile is a written plot.
type plotFile struct{ file, title string }

// plots writes the plots into a directory.
func (r *Report) plots(dir string) ([]plotFile, error) {
	rate := func(s measure.Summary) float64 { return s.Throughput }
	tail := func(s measure.Summary) float64 { return s.P99.Seconds() }
	charts := []struct {
		file string
		chart
	}{
		{"point-throughput.svg", r.byCallers("point", "Point reads a second", rate, plainNumber)},
		{"point-p99.svg", r.byCallers("point", "p99 of a point read", tail, seconds)},
		{"insert-throughput.svg", r.byCallers("insert", "Inserts a second", rate, plainNumber)},
		{"insert-p99.svg", r.byCallers("insert", "p99 of an insert", tail, seconds)},
		{"table-size.svg", r.bySize()},
		{"statistics.svg", r.statisticsBySize()},
	}
	var files []plotFile
	for _, c := range charts {
		if len(c.lines) == 0 || len(c.xs) < 2 {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), c.svg(), 0o644); err != nil {
			return nil, err
		}
		files = append(files, plotFile{c.file, c.title})
	}
	return files, nil
}

// byCallers plots a value of every peer against the number of callers, with the
// project first.
func (r *Report) byCallers(workload, title string, value func(measure.Summary) float64, text func(float64) string) chart {
	c := chart{title: title, xTitle: "callers at once", xText: plainNumber, yText: text}
	lines := map[string]*line{}
	order := []string{project}
	for _, s := range r.Sections {
		for _, cell := range s.Cells {
			if cell.Workload != workload {
				continue
			}
			c.xs = append(c.xs, float64(cell.Callers))
			for _, who := range cell.Order {
				if lines[who] == nil {
					lines[who] = &line{name: who, strong: who == project}
					if who != project {
						order = append(order, who)
					}
				}
				p := point{float64(cell.Callers), value(cell.Summarize(who, reference))}
				lines[who].points = append(lines[who].points, p)
			}
		}
	}
	for _, who := range order {
		if lines[who] != nil {
			c.lines = append(c.lines, *lines[who])
		}
	}
	return c
}

// bySize plots the project's time for some operations against the size of the
// table.
func (r *Report) bySize() chart {
	c := chart{title: "Time of one operation of Quern against the size of the table", xTitle: "users in the table", xText: plainNumber, yText: seconds}
	sizes := r.sizeList()
	if len(sizes) == 0 {
		return c
	}
	for i, first := range r.Sizes[sizes[0]] {
		if slices.Contains(statistics, first.Workload) {
			continue
		}
		for _, who := range []string{project, project + ", deep"} {
			if len(first.Samples[who]) == 0 {
				continue
			}
			l := line{name: sizeName(first.Workload, who), strong: true}
			if l.name == "" {
				continue
			}
			for _, n := range sizes {
				l.points = append(l.points, point{float64(n), r.Sizes[n][i].Summarize(who, reference).P50.Seconds()})
			}
			c.lines = append(c.lines, l)
		}
	}
	for _, n := range sizes {
		c.xs = append(c.xs, float64(n))
	}
	return c
}

// statistics are the workloads whose counts are kept.
var statistics = []string{"stats-page", "overview", "top-tags", "posts-per-day"}

// statisticsBySize plots the time of the statistics against the size of the table, kept
// and counted.
func (r *Report) statisticsBySize() chart {
	c := chart{title: "Time of statistics, kept by Quern and counted by pgx", xTitle: "users in the table, with twice as many posts", xText: plainNumber, yText: seconds}
	sizes := r.sizeList()
	if len(sizes) == 0 {
		return c
	}
	for i, first := range r.Sizes[sizes[0]] {
		if !slices.Contains(statistics, first.Workload) {
			continue
		}
		for _, who := range []string{project, reference} {
			l := line{name: first.Workload, strong: who == project}
			if who == reference {
				l.name += ", counted"
			}
			for _, n := range sizes {
				l.points = append(l.points, point{float64(n), r.Sizes[n][i].Summarize(who, reference).P50.Seconds()})
			}
			c.lines = append(c.lines, l)
		}
	}
	for _, n := range sizes {
		c.xs = append(c.xs, float64(n))
	}
	return c
}

// sizeName returns the name of a line, or "" for a line that is not shown.
func sizeName(workload, who string) string {
	switch {
	case workload == "deep-page" && who == project:
		return "" // a page, which has its own line
	case workload == "deep-page":
		return "page at nine tenths"
	case workload == "point":
		return "point read"
	case workload == "page":
		return "page of 100"
	case workload == "import":
		return "import of 10,000 rows"
	default:
		return workload
	}
}

// plainNumber formats a mark of an axis, such as 20k.
func plainNumber(f float64) string {
	switch {
	case f >= 1e6:
		return strconv.FormatFloat(f/1e6, 'f', -1, 64) + "M"
	case f >= 1e3:
		return strconv.FormatFloat(f/1e3, 'f', -1, 64) + "k"
	default:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
}

// seconds formats a mark of a time axis, such as 20ms.
func seconds(f float64) string {
	return fmt.Sprint(time.Duration(f*1e9 + 0.5).Round(time.Microsecond))
}

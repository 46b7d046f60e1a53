// Command prose measures the English of the comments in hand-written Go: how
// often the words occur that make a reader start the sentence again, and how
// often the words that make a condition, a rule or a reason plain. It compares
// the given folders with river, pgx and goose.
//
// Run it in tools/. A folder is relative to the repository; as with the go
// command, /... adds the folders below it. Without one, it measures the whole
// repository:
//
//	go run ./prose postgres internal/api/...
//
// With -list it prints each occurrence of a word to avoid, with its place. With
// -check the exit status is 1 if a row is beyond its limit. With -models it
// prints the files of river, pgx and goose, on which a new rule of tools/vale
// must stay nearly silent.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	check := flag.Bool("check", false, "exit with 1 if a row is beyond its limit")
	list := flag.Bool("list", false, "print each occurrence of a word to avoid instead of the table")
	files := flag.Bool("models", false, "print the files of river, pgx and goose")
	flag.Parse()
	if *files {
		if err := printFiles(); err != nil {
			fmt.Fprintln(os.Stderr, "prose:", err)
			os.Exit(2)
		}
		return
	}
	rooms := flag.Args()
	if len(rooms) == 0 {
		rooms = []string{"./..."}
	}
	beyond, err := run(rooms, *list)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(2)
	}
	if beyond > 0 && *check {
		fmt.Fprintf(os.Stderr, "prose: %d rows are beyond their limit: `go run ./prose -list` prints where\n", beyond)
		os.Exit(1)
	}
}

// run prints the table, or the occurrences, and returns how many rows are beyond their limit in
// all folders together.
func run(rooms []string, list bool) (beyond int, err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	here := corpus{name: "here"}
	for _, room := range rooms {
		if err := here.read(root, room); err != nil {
			return 0, err
		}
	}
	if list {
		for _, o := range here.occurrences() {
			fmt.Println(o)
		}
		return 0, nil
	}
	peers, err := models()
	if err != nil {
		return 0, err
	}
	return printTable(here, peers), nil
}

// printFiles prints the names of the models' files.
func printFiles() error {
	peers, err := models()
	for _, p := range peers {
		for _, name := range p.files {
			fmt.Println(name)
		}
	}
	return err
}

// printTable prints a row for each kind of word, per 10,000 words of comment.
func printTable(here corpus, peers []corpus) (beyond int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	names := make([]string, len(peers))
	sizes := make([]string, len(peers))
	for i, p := range peers {
		names[i], sizes[i] = p.name, fmt.Sprint(p.words)
	}
	fmt.Fprintf(w, "per 10,000 words of comment\there\t%s\tlimit\t\n", strings.Join(names, "\t"))
	for _, r := range rows {
		rates := make([]float64, len(peers))
		cells := make([]string, len(peers))
		for i, p := range peers {
			rates[i] = p.rate(r)
			cells[i] = fmt.Sprintf("%.1f", rates[i])
		}
		limit, verdict := r.limit(rates), ""
		if r.isBeyond(here, limit) {
			beyond++
			verdict = "beyond"
		}
		sign := "<="
		if r.wanted {
			sign = ">="
		}
		fmt.Fprintf(w, "%s\t%.1f\t%s\t%s %.1f\t%s\n", r.name, here.rate(r), strings.Join(cells, "\t"), sign, limit, verdict)
	}
	fmt.Fprintf(w, "words\t%d\t%s\t\t\n", here.words, strings.Join(sizes, "\t"))
	w.Flush()
	return beyond
}

// limit returns the most, or for a wanted word the least, that is still good
// English: three times the greatest of the models, or a third of their least.
func (r row) limit(models []float64) float64 {
	if r.wanted {
		return slices.Min(models) / 3
	}
	return max(3*slices.Max(models), leastLimit)
}

// leastLimit is the least limit of a word to avoid, per 10,000 words: a word
// that the models never use has its place now and then.
const leastLimit = 2

// isBeyond reports whether the row of c is beyond the limit. One occurrence
// alone never is, however small the folder.
func (r row) isBeyond(c corpus, limit float64) bool {
	if r.wanted {
		return c.rate(r) < limit
	}
	return c.count(r) > 1 && c.rate(r) > limit
}

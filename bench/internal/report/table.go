package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// table is a table in Markdown.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write aligns a column to the right if its first row looks like a number.
func (t *table) write(b *bytes.Buffer) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(b, "| %s |\n|", strings.Join(t.head, " | "))
	for i := range t.head {
		cell := strings.Trim(t.rows[0][i], "*≥≤ ")
		if cell != "" && (cell[0] >= '0' && cell[0] <= '9' || cell == unknown) {
			fmt.Fprint(b, "---:|")
		} else {
			fmt.Fprint(b, "---|")
		}
	}
	fmt.Fprintln(b)
	for _, row := range t.rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(b)
}

// unknown is written for a missing number.
const unknown = "–"

// mark highlights the project's own rows.
func mark(name string) string {
	if name == project || strings.HasPrefix(name, project+",") {
		return "**" + name + "**"
	}
	return name
}

// number formats a number with three significant digits.
func number(f float64) string {
	switch {
	case f < 0:
		return unknown
	case f >= 99.95:
		return Thousands(int64(f + 0.5))
	case f >= 9.95:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
}

func rate(f float64) string { return number(f) }

func ratio(f float64) string {
	if f >= 0 && f < 0.1 {
		return strconv.FormatFloat(f, 'f', 3, 64)
	}
	return number(f)
}

// Thousands formats an integer.
func Thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// took formats a duration.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return unknown
	case d < time.Millisecond:
		return number(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return number(float64(d)/float64(time.Millisecond)) + " ms"
	default:
		return number(d.Seconds()) + " s"
	}
}

// size formats a number of bytes.
func size(f float64) string {
	switch {
	case f < 0:
		return unknown
	case f < 1e3:
		return number(f) + " B"
	case f < 1e6:
		return number(f/1e3) + " kB"
	default:
		return number(f/1e6) + " MB"
	}
}

package main

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is the pause between two lines of the log where there is no
// terminal to draw a bar on.
const progressEvery = 5 * time.Second

// progress shows how far something in bulk has come: as a bar on a terminal, as
// a line of the log now and then elsewhere, or not at all.
type progress struct {
	what  string
	total int64 // -1: not known
	done  atomic.Int64
	start time.Time
	last  time.Time
	bar   *progressbar.ProgressBar
	log   *slog.Logger // nil: quiet
}

// newProgress begins a progress of total bytes or rows.
func (a *app) newProgress(what string, total int64, bytes, quiet bool) *progress {
	p := &progress{what: what, total: total, start: time.Now(), last: time.Now()}
	if quiet {
		return p
	}
	p.log = a.log
	if !isTerminal(a.stderr) {
		return p
	}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetWidth(20),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish())
	return p
}

// reader counts what is read of r.
func (p *progress) reader(r io.Reader) io.Reader { return countingReader{r, p} }

type countingReader struct {
	io.Reader
	p *progress
}

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.p.advance(int64(n))
	return n, err
}

type countingReaderAt struct {
	io.ReaderAt
	p *progress
}

func (r countingReaderAt) ReadAt(b []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(b, at)
	r.p.advance(int64(n))
	return n, err
}

func (p *progress) advance(n int64) {
	p.done.Add(n)
	if p.bar != nil {
		_ = p.bar.Add64(n) // its errors are those of a terminal that went away
	}
}

// rows tells of rows, and of how many of them were rejected.
func (p *progress) rows(rows, rejected int64) {
	perSecond := int64(float64(rows) / max(time.Since(p.start).Seconds(), 0.001))
	switch {
	case p.bar != nil:
		text := fmt.Sprintf("%s: %s rows, %s/s", p.what, thousands(rows), thousands(perSecond))
		if rejected > 0 {
			text += fmt.Sprintf(", %s rejected", thousands(rejected))
		}
		p.bar.Describe(text)
	case p.log != nil && time.Since(p.last) >= progressEvery:
		p.last = time.Now()
		attrs := []any{"rows", rows, "rows_per_second", perSecond}
		if rejected > 0 {
			attrs = append(attrs, "rejected", rejected)
		}
		if done := p.done.Load(); p.total > 0 && done > 0 {
			left := time.Duration(float64(time.Since(p.start)) / float64(done) * float64(p.total-done))
			attrs = append(attrs, "percent", 100*done/p.total, "left", left.Round(time.Second))
		}
		p.log.Info(p.what, attrs...)
	}
}

// end removes the bar.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear() // as above
		p.bar = nil
	}
}

// took is how long it has been, and how many rows that was a second.
func (p *progress) took(rows int64) string {
	d := time.Since(p.start)
	perSecond := int64(float64(rows) / max(d.Seconds(), 0.001))
	return fmt.Sprintf("in %s (%s/s)", d.Round(10*time.Millisecond), thousands(perSecond))
}

// inRows is how many rows.
func inRows(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return thousands(n) + " rows"
}

// thousands writes a number in groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

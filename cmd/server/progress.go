package main

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// progressEvery is the interval of the log lines if there is no terminal.
	progressEvery = 5 * time.Second

	// drawEvery is the shortest interval between two updates of the line on a terminal.
	drawEvery = 100 * time.Millisecond
)

// progress shows the progress of an import, export or seed: as a line on a terminal
// that is updated, as log lines if there is no terminal, or not at all.
type progress struct {
	what  string
	total int64 // in bytes or rows; -1 if not known
	bytes bool
	done  atomic.Int64
	start time.Time
	log   *slog.Logger // nil if quiet

	mu       sync.Mutex
	terminal io.Writer // nil if there is none
	rowText  string    // the number of rows and of rejected ones
	last     time.Time // time of the last update
}

// newProgress starts the progress of total bytes or rows.
func (a *app) newProgress(what string, total int64, bytes, quiet bool) *progress {
	p := &progress{what: what, total: total, bytes: bytes, start: time.Now(), last: time.Now()}
	if quiet {
		return p
	}
	p.log = a.log
	if isTerminal(a.stderr) {
		p.terminal = a.stderr
	}
	return p
}

// reader returns a reader of r that counts the bytes read.
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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draw()
}

// draw updates the line, unless the last update was less than drawEvery ago.
func (p *progress) draw() {
	if p.terminal == nil || time.Since(p.last) < drawEvery {
		return
	}
	p.last = time.Now()
	text := p.what
	if p.rowText != "" {
		text += ": " + p.rowText
	}
	if percent, left, ok := p.forecast(); ok {
		text += fmt.Sprintf(", %d %%", percent)
		if p.bytes {
			text += fmt.Sprintf(" of %.1f MiB", float64(p.total)/(1<<20))
		}
		text += fmt.Sprintf(", %s left", left)
	}
	// Return to the start of the line, and clear it after the text. An error means
	// that the terminal was closed.
	_, _ = fmt.Fprintf(p.terminal, "\r%s\x1b[K", text)
}

// forecast returns the finished percentage and the remaining time, if the total is
// known.
func (p *progress) forecast() (percent int64, left time.Duration, ok bool) {
	done := min(p.done.Load(), p.total)
	if p.total <= 0 || done <= 0 {
		return 0, 0, false
	}
	left = time.Duration(float64(time.Since(p.start)) / float64(done) * float64(p.total-done))
	return 100 * done / p.total, left.Round(time.Second), true
}

// rows shows the number of rows and how many of them were rejected.
func (p *progress) rows(rows, rejected int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	perSecond := int64(float64(rows) / max(time.Since(p.start).Seconds(), 0.001))
	switch {
	case p.terminal != nil:
		p.rowText = fmt.Sprintf("%s, %s/s", inRows(rows), thousands(perSecond))
		if rejected > 0 {
			p.rowText += fmt.Sprintf(", %s rejected", thousands(rejected))
		}
		p.draw()
	case p.log != nil && time.Since(p.last) >= progressEvery:
		p.last = time.Now()
		attrs := []any{"rows", rows, "rows_per_second", perSecond}
		if rejected > 0 {
			attrs = append(attrs, "rejected", rejected)
		}
		if percent, left, ok := p.forecast(); ok {
			attrs = append(attrs, "percent", percent, "left", left)
		}
		p.log.Info(p.what, attrs...)
	}
}

// end clears the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal != nil {
		_, _ = fmt.Fprint(p.terminal, "\r\x1b[K")
		p.terminal = nil
	}
}

// took describes the time since the start, and the rows per second.
func (p *progress) took(rows int64) string {
	d := time.Since(p.start)
	perSecond := int64(float64(rows) / max(d.Seconds(), 0.001))
	return fmt.Sprintf("in %s (%s/s)", d.Round(10*time.Millisecond), thousands(perSecond))
}

// inRows returns n as a number of rows.
func inRows(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return thousands(n) + " rows"
}

// thousands formats a number in groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

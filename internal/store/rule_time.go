package store

import (
	"bytes"
	"strings"
	"time"
)

const (
	notTime  = "is not a time such as 2026-01-31T12:00:00Z"
	noZone   = "has no time zone: write it as 2026-01-31T12:00:00Z"
	notYears = "is outside the years 0000 to 9999 in UTC, which is all that JSON and CSV can carry"
)

// StorableTime reports whether the tables accept a time: RFC 3339 must be able to represent
// it in UTC.
func StorableTime(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// parseTime parses a time in RFC 3339, or in PostgreSQL's default format of a timestamptz
// for any time zone: with a space for the T, an offset without minutes or with seconds, and
// BC (manual, section 8.5.2).
func parseTime(text []byte) (t time.Time, reason string) {
	p := timeParser{rest: text, ok: true}
	switch string(text) {
	case "infinity", "-infinity":
		return t, notYears
	}
	year, month, day := p.year(), p.after("-", 2), p.after("-", 2)
	if !p.ok || !p.oneOf("Tt ") {
		return t, notTime
	}
	hour, minute, second := p.digits(2), p.after(":", 2), p.after(":", 2)
	nanoseconds := p.fraction()
	if p.ok && len(p.rest) == 0 {
		return t, noZone
	}
	offset := p.offset()
	if rest, bc := bytes.CutSuffix(p.rest, []byte(" BC")); bc {
		p.rest = rest
		year = 1 - year
	}
	if !p.ok || len(p.rest) > 0 || hour > 23 || minute > 59 || second > 59 {
		return t, notTime
	}
	t = time.Date(year, time.Month(month), day, hour, minute, second, nanoseconds, time.UTC)
	if t.Month() != time.Month(month) || t.Day() != day {
		return t, notTime // such as February 30th
	}
	if t = t.Add(-offset); !StorableTime(t) {
		return t, notYears
	}
	return t, ""
}

// timeParser parses numbers from a text until one is missing.
type timeParser struct {
	rest []byte
	ok   bool
}

// oneOf skips one of the given characters.
func (p *timeParser) oneOf(characters string) bool {
	if len(p.rest) == 0 || strings.IndexByte(characters, p.rest[0]) < 0 {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// digits parses a number with exactly n digits.
func (p *timeParser) digits(count int) (n int) {
	if len(p.rest) < count {
		p.ok = false
		return 0
	}
	for _, c := range p.rest[:count] {
		p.ok = p.ok && c >= '0' && c <= '9'
		n = n*10 + int(c-'0')
	}
	p.rest = p.rest[count:]
	return n
}

// after parses a number that follows a separator.
func (p *timeParser) after(separator string, count int) int {
	p.ok = p.ok && p.oneOf(separator)
	return p.digits(count)
}

// year parses all following digits: at least four, and as many as PostgreSQL writes.
func (p *timeParser) year() int {
	count := 0
	for count < len(p.rest) && p.rest[count] >= '0' && p.rest[count] <= '9' {
		count++
	}
	p.ok = p.ok && count >= 4 && count <= 6
	return p.digits(min(count, 6))
}

// fraction parses the optional fraction of a second, in nanoseconds.
func (p *timeParser) fraction() (nanoseconds int) {
	if !p.oneOf(".,") {
		return 0
	}
	count := 0
	for scale := 100_000_000; count < len(p.rest) && p.rest[count] >= '0' && p.rest[count] <= '9'; count++ {
		nanoseconds += int(p.rest[count]-'0') * scale
		scale /= 10
	}
	p.ok = p.ok && count > 0
	p.rest = p.rest[count:]
	return nanoseconds
}

// offset parses Z, or an offset from UTC in hours, with optional minutes and seconds.
func (p *timeParser) offset() time.Duration {
	if p.oneOf("Zz") {
		return 0
	}
	negative := bytes.HasPrefix(p.rest, []byte{'-'})
	p.ok = p.ok && p.oneOf("+-")
	n := time.Duration(p.digits(2)) * time.Hour
	var minutes, seconds int
	if colon := p.oneOf(":"); colon || len(p.rest) > 0 && p.rest[0] != ' ' {
		minutes = p.digits(2)
		if colon && p.oneOf(":") {
			seconds = p.digits(2)
		}
	}
	p.ok = p.ok && n < 24*time.Hour && minutes < 60 && seconds < 60
	n += time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second
	if negative {
		return -n
	}
	return n
}

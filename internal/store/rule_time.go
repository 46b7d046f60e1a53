package store

import (
	"bytes"
	"time"
)

const (
	notTime  = "is not a time such as 2026-01-31T12:00:00Z"
	noZone   = "has no time zone: write it as 2026-01-31T12:00:00Z"
	notYears = "is outside the years 0000 to 9999 in UTC, which is all that JSON and CSV can carry"
)

// StorableTime reports whether the tables take a time: it must be one that RFC 3339
// can write in UTC.
func StorableTime(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// parseTime reads a time of RFC 3339, or one as PostgreSQL writes a timestamptz in
// its default date style, whatever the session's time zone was: with a blank for the
// T, an offset without minutes or with seconds, and BC (manual, section 8.5.2).
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

// timeParser reads numbers off a text until one is missing.
type timeParser struct {
	rest []byte
	ok   bool
}

// oneOf steps over one of the given characters.
func (p *timeParser) oneOf(characters string) bool {
	if len(p.rest) == 0 || bytes.IndexByte([]byte(characters), p.rest[0]) < 0 {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// digits reads a number of so many digits.
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

// after reads a number that follows a separator.
func (p *timeParser) after(separator string, count int) int {
	p.ok = p.ok && p.oneOf(separator)
	return p.digits(count)
}

// year reads all digits that there are: at least four, and as many as PostgreSQL
// writes.
func (p *timeParser) year() int {
	count := 0
	for count < len(p.rest) && p.rest[count] >= '0' && p.rest[count] <= '9' {
		count++
	}
	p.ok = p.ok && count >= 4 && count <= 6
	return p.digits(min(count, 6))
}

// fraction reads the fraction of a second, if there is one, in nanoseconds.
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

// offset reads Z, or an offset from UTC of hours, perhaps minutes and perhaps
// seconds.
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

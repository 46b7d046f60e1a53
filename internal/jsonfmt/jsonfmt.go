// Package jsonfmt appends values to a buffer as JSON. The result is, byte for
// byte, the text that encoding/json writes with SetEscapeHTML(false), but
// without reflection and without allocations.
package jsonfmt

import (
	"time"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0 // of the part not yet copied
	for i := 0; i < len(s); {
		if i+8 <= len(s) && plain(s[i:i+8]) {
			i += 8
			continue
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			broken := r == utf8.RuneError && size == 1
			// JavaScript before ES2019 treats these two as line ends even in a string.
			if broken || r == '\u2028' || r == '\u2029' {
				b = append(b, s[start:i]...)
				b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
				start = i + size
			}
			i += size
			continue
		}
		if c < ' ' || c == '"' || c == '\\' {
			b = append(b, s[start:i]...)
			b = appendEscape(b, c)
			start = i + 1
		}
		i++
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// plain reports whether none of eight bytes needs an escape in a JSON string.
// Testing all of them at once is four times as fast for a long text.
func plain(s string) bool {
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^ones*'"', x^ones*'\\'
	// A byte smaller than the subtracted one sets its top bit, and may also set
	// that of the next byte. Then the caller tests the bytes individually.
	return (x|(x-ones*' ')|(quote-ones)|(backslash-ones))&tops == 0
}

// appendEscape appends an ASCII character that needs an escape.
func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// AppendStrings appends list as a JSON array of strings. If list is nil, it is
// an empty array and not null.
func AppendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, s)
	}
	return append(b, ']')
}

// AppendTime appends t in UTC as RFC 3339 without quotes. A year outside the
// range of RFC 3339, which encoding/json would refuse, is written with all its
// digits.
func AppendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, time.RFC3339Nano)
	}
	hour, minute, second := t.Clock()
	b = append(b, "0000-00-00T00:00:00"...)
	text := b[len(b)-19:]
	putTwo(text[0:], year/100)
	putTwo(text[2:], year%100)
	putTwo(text[5:], int(month))
	putTwo(text[8:], day)
	putTwo(text[11:], hour)
	putTwo(text[14:], minute)
	putTwo(text[17:], second)
	return append(appendFraction(b, t.Nanosecond()), 'Z')
}

// appendFraction appends the fraction of a second without trailing zeros, or
// nothing if it is zero.
func appendFraction(b []byte, nanoseconds int) []byte {
	if nanoseconds == 0 {
		return b
	}
	digits := 9
	for nanoseconds%10 == 0 {
		nanoseconds /= 10
		digits--
	}
	b = append(b, ".000000000"[:1+digits]...)
	for i := len(b) - 1; nanoseconds > 0; i-- {
		b[i] = byte('0' + nanoseconds%10)
		nanoseconds /= 10
	}
	return b
}

func putTwo(b []byte, n int) {
	b[0], b[1] = byte('0'+n/10), byte('0'+n%10)
}

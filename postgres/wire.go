package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// What follows reads values as the server sends them: in binary, but for text
// and JSON (PostgreSQL manual, 55.2.3 and the send functions of each type).
// Each reads only what it is sure of. What it reports false for, which includes
// NULL, is not wrong: pgx decides what it is, or what to say of it.

// wireEpoch is the zero of dates and times on the wire, 2000-01-01, in seconds
// of Unix time.
const wireEpoch = 946_684_800

// Times this far from wireEpoch, some 4,500 and 5,700 years, are certainly
// times. Beyond are infinity and the limits of what pgx lets through.
const (
	wireMicroseconds = 1 << 57
	wireDays         = 1 << 21
)

// wireJSONDepth is how deep encoding/json lets values be nested.
const wireJSONDepth = 10_000

func wireInt2(b []byte) (int16, bool) {
	if len(b) != 2 {
		return 0, false
	}
	return int16(binary.BigEndian.Uint16(b)), true
}

func wireInt4(b []byte) (int32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return int32(binary.BigEndian.Uint32(b)), true
}

func wireInt8(b []byte) (int64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

func wireFloat4(b []byte) (float32, bool) {
	n, ok := wireInt4(b)
	return math.Float32frombits(uint32(n)), ok
}

func wireFloat8(b []byte) (float64, bool) {
	n, ok := wireInt8(b)
	return math.Float64frombits(uint64(n)), ok
}

func wireBool(b []byte) (value, ok bool) {
	if len(b) != 1 {
		return false, false
	}
	return b[0] == 1, true
}

// wireTimestamptz returns a time in UTC.
func wireTimestamptz(b []byte) (time.Time, bool) {
	us, ok := wireInt8(b)
	if !ok || us < -wireMicroseconds || us > wireMicroseconds {
		return time.Time{}, false
	}
	return time.Unix(wireEpoch+us/1e6, us%1e6*1e3).UTC(), true
}

// wireDate returns the midnight in UTC that a date begins with.
func wireDate(b []byte) (time.Time, bool) {
	days, ok := wireInt4(b)
	if !ok || days < -wireDays || days > wireDays {
		return time.Time{}, false
	}
	return time.Unix(wireEpoch+int64(days)*86_400, 0).UTC(), true
}

// wireBytes returns a copy; NULL is nil.
func wireBytes(b []byte) ([]byte, bool) {
	if b == nil {
		return nil, true
	}
	return append(make([]byte, 0, len(b)), b...), true
}

// wireJSON returns a copy of a JSON value, without the white space around it
// that the type json keeps; NULL is nil. That it is JSON the server has checked.
func wireJSON(b []byte) (json.RawMessage, bool) {
	if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > wireJSONDepth {
		return nil, false
	}
	return wireBytes(bytes.Trim(b, " \t\r\n"))
}

// wireStrings reads a JSON array of strings that stand in it as they are,
// without escapes. They are parts of text.
func wireStrings(text string) ([]string, bool) {
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' || !utf8.ValidString(text) {
		return nil, false
	}
	list := make([]string, 0, strings.Count(text, `"`)/2)
	rest := text[1 : len(text)-1]
	for rest != "" || len(list) > 0 {
		n := plainString(rest)
		if n == 0 {
			return nil, false
		}
		list = append(list, rest[1:n-1])
		if rest = rest[n:]; rest == "" {
			break
		}
		if rest[0] != ',' {
			return nil, false
		}
		rest = strings.TrimPrefix(rest[1:], " ")
	}
	return list, true
}

// plainString returns the length of the JSON string, quotes included, that s
// begins with, or 0 where there is none or it has escapes.
func plainString(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\' || c < ' ':
			return 0
		}
	}
	return 0
}

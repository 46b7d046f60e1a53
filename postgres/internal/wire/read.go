package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// The functions below decode values as the server sends them, in binary except for
// text and JSON (PostgreSQL manual, 55.2.3 and the send functions of each type). A
// false result, including for NULL, is not an error: pgx then decodes the value or
// reports the error.

// epoch is the zero point of dates and times in the protocol, 2000-01-01, in Unix
// seconds.
const epoch = 946_684_800

// Values within this distance of epoch, some 4,500 and 5,700 years, are certainly
// finite times. Infinity and the limits of the times that pgx accepts are beyond it.
const (
	maxMicroseconds = 1 << 57
	maxDays         = 1 << 21
)

// maxJSONDepth is the maximum nesting that encoding/json accepts.
const maxJSONDepth = 10_000

func readInt2(b []byte) (int16, bool) {
	if len(b) != 2 {
		return 0, false
	}
	return int16(binary.BigEndian.Uint16(b)), true
}

func readInt4(b []byte) (int32, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return int32(binary.BigEndian.Uint32(b)), true
}

func readInt8(b []byte) (int64, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

func readFloat4(b []byte) (float32, bool) {
	n, ok := readInt4(b)
	return math.Float32frombits(uint32(n)), ok
}

func readFloat8(b []byte) (float64, bool) {
	n, ok := readInt8(b)
	return math.Float64frombits(uint64(n)), ok
}

func readBool(b []byte) (value, ok bool) {
	if len(b) != 1 {
		return false, false
	}
	return b[0] == 1, true
}

// readTimestamptz returns a time in UTC.
func readTimestamptz(b []byte) (time.Time, bool) {
	us, ok := readInt8(b)
	if !ok || us < -maxMicroseconds || us > maxMicroseconds {
		return time.Time{}, false
	}
	return time.Unix(epoch+us/1e6, us%1e6*1e3).UTC(), true
}

// readDate returns the midnight in UTC at which a date begins.
func readDate(b []byte) (time.Time, bool) {
	days, ok := readInt4(b)
	if !ok || days < -maxDays || days > maxDays {
		return time.Time{}, false
	}
	return time.Unix(epoch+int64(days)*86_400, 0).UTC(), true
}

// readBytes returns a copy, or nil for NULL.
func readBytes(b []byte) ([]byte, bool) {
	if b == nil {
		return nil, true
	}
	return append(make([]byte, 0, len(b)), b...), true
}

// readJSON returns a copy of a JSON value without the surrounding white space that
// the type json keeps, or nil for NULL. The server has checked that it is JSON.
func readJSON(b []byte) (json.RawMessage, bool) {
	if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxJSONDepth {
		return nil, false
	}
	return readBytes(bytes.Trim(b, " \t\r\n"))
}

// readStrings parses a JSON array of strings without escapes. The strings share the
// memory of text.
func readStrings(text string) ([]string, bool) {
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

// plainString returns the length, including the quotes, of the JSON string that s
// begins with. It returns 0 if there is none or it has escapes.
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

package jsonfmt

import (
	"bytes"
	"math"
	"strconv"
)

// Int parses a JSON number (RFC 8259, section 6). It reports whether text is a
// whole number, such as 30, 30.0 or 3e1, and whether it fits into an int64. n is
// exact, because no digit passes through a floating-point number. Leading zeros
// are accepted, because CSV has them.
func Int(text []byte) (n int64, whole, fits bool) {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && text[0] != '+' {
		return n, true, true
	}
	d, ok := parseDecimal(text)
	if !ok || len(d.digits) > 0 && d.exponent < 0 {
		return 0, false, false
	}
	if len(d.digits) == 0 {
		return 0, true, true
	}
	const most = 19 // digits of an int64
	if d.exponent > most || int64(len(d.digits))+d.exponent > most {
		return 0, true, false
	}
	plain := append(bytes.Clone(d.digits), bytes.Repeat([]byte{'0'}, int(d.exponent))...)
	if d.negative {
		plain = append([]byte{'-'}, plain...)
	}
	n, err := strconv.ParseInt(string(plain), 10, 64)
	return n, true, err == nil
}

// maxScale is the maximum number of digits after the decimal point in
// PostgreSQL's numeric, and therefore in jsonb (manual, section 8.1.2). It is
// also the greatest exponent, of either sign, that Storable accepts.
const maxScale = 16383

// Storable reports whether a valid JSON number can be stored as jsonb and read by
// clients. As RFC 7493 asks, its value must be zero or fit a double-precision
// number. jsonb would expand 1e400 to 401 digits, which JavaScript reads as
// Infinity.
func Storable(text []byte) bool {
	const plain = 300 // up to this length and without an exponent, a number is always storable
	if len(text) <= plain && bytes.IndexByte(text, 'e') < 0 && bytes.IndexByte(text, 'E') < 0 {
		return true
	}
	d, ok := parseDecimal(text)
	if !ok || d.scale > maxScale || d.written < -maxScale || d.written > maxScale {
		return false
	}
	f, err := strconv.ParseFloat(string(text), 64)
	return err == nil && (f != 0 || len(d.digits) == 0)
}

// decimal is digits × 10^exponent. digits have no leading or trailing zeros.
type decimal struct {
	negative bool
	digits   []byte
	exponent int64
	scale    int64 // digits after the point, in positional notation
	written  int64 // the exponent as written in the text
}

// parseDecimal parses digits with an optional fraction and an optional exponent.
func parseDecimal(text []byte) (d decimal, ok bool) {
	rest, negative := bytes.CutPrefix(text, []byte{'-'})
	d.negative = negative
	mantissa := rest
	if i := bytes.IndexAny(rest, "eE"); i >= 0 {
		mantissa = rest[:i]
		if d.written, ok = parseExponent(rest[i+1:]); !ok {
			return d, false
		}
	}
	whole, fraction, point := bytes.Cut(mantissa, []byte{'.'})
	if !allDigits(whole) || point && !allDigits(fraction) {
		return d, false
	}
	d.exponent = d.written - int64(len(fraction))
	d.scale = max(0, -d.exponent)
	d.digits = append(append(make([]byte, 0, len(whole)+len(fraction)), whole...), fraction...)
	d.digits = bytes.TrimLeft(d.digits, "0")
	significant := bytes.TrimRight(d.digits, "0")
	d.exponent += int64(len(d.digits) - len(significant))
	d.digits = significant
	return d, true
}

// parseExponent parses the text after e. If the exponent does not fit into an
// int64, the result is the largest of its sign, minus the amount that a length
// can add.
func parseExponent(text []byte) (n int64, ok bool) {
	digits := text
	negative := len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		digits = text[1:]
	}
	if !allDigits(digits) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || n > math.MaxInt64/4 {
		n = math.MaxInt64 / 4
	}
	if negative {
		n = -n
	}
	return n, true
}

func allDigits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) > 0
}

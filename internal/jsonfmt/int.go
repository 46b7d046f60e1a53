package jsonfmt

import (
	"bytes"
	"math"
	"strconv"
)

// Int reads a number as JSON writes it (RFC 8259, section 6). It reports whether
// text is a whole number, as 30, 30.0 and 3e1 are, and whether an int64 holds it.
// n is exact: no digit goes through a floating-point number. Leading zeros are
// accepted, because CSV has them.
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

// maxScale is how many digits PostgreSQL's numeric, and so jsonb, has after the
// point (manual, section 8.1.2), and the greatest exponent, of either sign, that
// Storable takes.
const maxScale = 16383

// Storable reports whether a number of valid JSON is one that jsonb stores and
// that readers can hold: its value must be zero or fit a double-precision number,
// as RFC 7493 asks. jsonb would write 1e400 out in 401 digits, which JavaScript
// reads as Infinity.
func Storable(text []byte) bool {
	const plain = 300 // with as many characters and no exponent it always is
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

// decimal is digits × 10^exponent, without zeros at either end of the digits.
type decimal struct {
	negative bool
	digits   []byte
	exponent int64
	scale    int64 // digits after the point, in positional notation
	written  int64 // the exponent as it stands in the text
}

// parseDecimal reads digits, perhaps a fraction, and perhaps an exponent.
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

// parseExponent reads what follows e. One that is too large for an int64 is the
// largest of its sign, less what a length can add to it.
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

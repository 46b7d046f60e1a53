package jsonfmt_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"quern/internal/jsonfmt"
)

func TestInt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "30": 30, "30.0": 30, "30.000": 30, "3e1": 30, "3E+1": 30, "300e-1": 30, "0.3e2": 30, "-30.0": -30, "007": 7,
		"0e999999999999999999999": 0, "0.0e-5": 0, "9007199254740993.0": 9007199254740993, "9.007199254740993e15": 9007199254740993,
		"9223372036854775807.0": 9223372036854775807, "-9223372036854775808.0": -9223372036854775808,
	} {
		if n, whole, fits := jsonfmt.Int([]byte(text)); n != want || !whole || !fits {
			t.Errorf("%s: %d, %t, %t", text, n, whole, fits)
		}
	}
	for _, text := range []string{"9223372036854775808.0", "1e19", "1e400", "1e999999999999999999999", "-1e20", "99999999999999999999"} {
		if _, whole, fits := jsonfmt.Int([]byte(text)); !whole || fits {
			t.Errorf("%s: whole %t, fits %t", text, whole, fits)
		}
	}
	for _, text := range []string{
		"", "-", "30.5", "1e-1", "5e-999999999999999999999", ".5", "30.", "+30", "+30.0", "3e", "3e+", "0x1e", "1_000", " 30", "30.0 ", "1,0", "NaN", "Infinity", "--1", "3.0.0",
	} {
		if _, whole, _ := jsonfmt.Int([]byte(text)); whole {
			t.Errorf("%q is whole", text)
		}
	}
}

// TestInt_Exact compares with rational numbers of any size.
func TestInt_Exact(t *testing.T) {
	t.Parallel()
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?`)
	spelling := rapid.SampledFrom([]string{"%d.0", "%de0", "%d0e-1", "%d.000E+00"})
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.Int64().Draw(t, "integer")
		spelt := fmt.Sprintf(spelling.Draw(t, "spelling"), given)
		if n, whole, fits := jsonfmt.Int([]byte(spelt)); n != given || !whole || !fits {
			t.Errorf("%s: %d, %t, %t", spelt, n, whole, fits)
		}
		text := number.Draw(t, "number")
		want, ok := new(big.Rat).SetString(text)
		if !ok || !json.Valid([]byte(text)) {
			t.Fatal(text)
		}
		n, whole, fits := jsonfmt.Int([]byte(text))
		if whole != want.IsInt() || fits != (want.IsInt() && want.Num().IsInt64()) || fits && n != want.Num().Int64() {
			t.Errorf("%s: %d, %t, %t", text, n, whole, fits)
		}
	})
}

func TestStorable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"1": true, "1.5e10": true, "1e308": true, "-1.7976931348623157e308": true, "5e-324": true, "0e400": true, "0.0": true,
		strings.Repeat("9", 308): true, "0." + strings.Repeat("3", 16383): true,
		"1e309": false, "-1e400": false, "1e-400": false, "0e99999": false, "1e999999999999999999999": false,
		strings.Repeat("9", 310): false, "0." + strings.Repeat("3", 16384): false,
	} {
		if got := jsonfmt.Storable([]byte(text)); got != want {
			t.Errorf("%.40s: %t", text, got)
		}
	}
}

package jsonfmt_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"quern/internal/jsonfmt"
)

// encoded returns the output of encoding/json for v.
func encoded(t rapid.TB, v any) string {
	t.Helper()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	check := func(t rapid.TB, s string) {
		t.Helper()
		if got, want := string(jsonfmt.AppendString([]byte("x"), s)), "x"+encoded(t, s); got != want {
			t.Fatalf("%q: %s, want %s", s, got, want)
		}
	}
	// Every byte and every relevant character, at every position in a group of
	// eight and with other characters around it.
	var all []string
	for c := range 256 {
		all = append(all, string([]byte{byte(c)}))
	}
	all = append(all, "\u00e9", "\u2027", "\u2028", "\u2029", "\u202a", "\ufffd", "\ufeff", "\U0001f600", "\xe2\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80")
	for _, s := range all {
		for at := range 10 {
			check(t, strings.Repeat("a", at)+s+strings.Repeat("~", 9-at))
			check(t, strings.Repeat(" ", at)+s+s+strings.Repeat("!", 9-at))
		}
	}
	check(t, "")
	any := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) { check(t, any.Draw(t, "s")) })
}

func TestAppendStrings(t *testing.T) {
	t.Parallel()
	for _, list := range [][]string{nil, {}, {""}, {"a"}, {"a", "\"b\"", "é"}} {
		want := encoded(t, append([]string{}, list...))
		if got := string(jsonfmt.AppendStrings(nil, list)); got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
}

func TestAppendTime(t *testing.T) {
	t.Parallel()
	first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
	check := func(t rapid.TB, at time.Time) {
		t.Helper()
		if got, want := `"`+string(jsonfmt.AppendTime(nil, at))+`"`, encoded(t, at.UTC()); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	for _, nanosecond := range []int64{0, 1, 10, 999, 1000, 120_000, 123_456_000, 100_000_000, 999_999_999} {
		for _, second := range []int64{first, last, 0, -1, 951_782_399, 951_782_400} {
			check(t, time.Unix(second, nanosecond))
		}
	}
	check(t, time.Time{})
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(first, last).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond"))
		check(t, at.In(time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "zone"))))
	})
}

// TestAppendTime_Beyond has years that PostgreSQL supports but RFC 3339 does
// not.
func TestAppendTime_Beyond(t *testing.T) {
	t.Parallel()
	for want, at := range map[string]time.Time{
		"-4713-11-24T00:00:00Z":         time.Date(-4713, 11, 24, 0, 0, 0, 0, time.UTC),
		"-0001-12-31T23:59:59.999999Z":  time.Date(-1, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		"10000-01-01T00:00:00Z":         time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		"294276-12-31T23:59:59.999999Z": time.Date(294276, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
	} {
		if got := string(jsonfmt.AppendTime(nil, at)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	b := make([]byte, 0, 1024)
	at := time.Unix(math.MaxInt32, 123_456_000)
	n := testing.AllocsPerRun(100, func() {
		b = jsonfmt.AppendString(b[:0], "a\n\u2028\xff")
		b = jsonfmt.AppendStrings(b, []string{"a", "b"})
		b = jsonfmt.AppendTime(b, at)
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

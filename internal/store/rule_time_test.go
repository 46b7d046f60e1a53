package store

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-11-27T20:43:30Z":                "2026-11-27T20:43:30Z",
		"2026-11-27t20:43:30.5z":              "2026-11-27T20:43:30.5Z",
		"2026-11-27T20:43:30.123456789+05:30": "2026-11-27T15:13:30.123456789Z",
		"2026-11-27 20:43:30.88033+00":        "2026-11-27T20:43:30.88033Z",
		"2026-11-27 20:43:30-03":              "2026-11-27T23:43:30Z",
		"2026-11-27 20:43:30+0530":            "2026-11-27T15:13:30Z",
		"1890-01-01 00:00:00-00:43:08":        "1890-01-01T00:43:08Z",
		"2026-11-27 20:43:30+00:00:00":        "2026-11-27T20:43:30Z",
		"0001-01-01 00:00:00+00 BC":           "0000-01-01T00:00:00Z",
		"0001-02-29T00:00:00+00:00 BC":        "0000-02-29T00:00:00Z",
		"0000-01-01T00:00:00Z":                "0000-01-01T00:00:00Z",
		"10000-01-01 01:00:00+02":             "9999-12-31T23:00:00Z",
		"9999-12-31T23:59:59.999999Z":         "9999-12-31T23:59:59.999999Z",
		"2024-02-29 12:00:00+14":              "2024-02-28T22:00:00Z",
	} {
		got, reason := parseTime([]byte(text))
		if reason != "" || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, %s, want %s", text, got.UTC().Format(time.RFC3339Nano), reason, want)
		}
	}
	for text, want := range map[string]string{
		"": notTime, "now": notTime, "2026-11-27": notTime, "27.11.2026 20:43:30+00": notTime, "11/27/2026 20:43:30 UTC": notTime, "1764276210": notTime,
		"2026-11-27T20:43Z": notTime, "2026-11-27T20:43:30.Z": notTime, "2026-02-30T00:00:00Z": notTime, "2026-13-01T00:00:00Z": notTime, "2026-00-10T00:00:00Z": notTime,
		"2026-11-27T24:00:00Z": notTime, "2026-11-27T20:60:00Z": notTime, "2026-11-27T20:43:60Z": notTime, "2026-11-27T20:43:30+24": notTime, "2026-11-27T20:43:30+05:60": notTime,
		"2026-11-27T20:43:30+5": notTime, "2026-11-27T20:43:30Z ": notTime, " 2026-11-27T20:43:30Z": notTime, "26-11-27T20:43:30Z": notTime, "2026-11-27T20:43:30+05:30:1": notTime,
		"2026-11-27T20:43:30+0530:00": notTime, "1234567-01-01 00:00:00+00": notTime, "2026-11-27  20:43:30+00": notTime, "2026-1a-27T20:43:30Z": notTime, "2025-02-29T00:00:00Z": notTime,
		"2026-11-27 20:43:30": noZone, "2026-11-27T20:43:30.88": noZone,
		"infinity": notYears, "-infinity": notYears, "0044-03-15 00:00:00+00 BC": notYears, "10000-01-01 00:00:00+00": notYears, "294276-12-31 23:59:59+00": notYears,
		"0000-01-01T00:00:00+00:01": notYears, "9999-12-31T23:59:59-00:01": notYears,
	} {
		if got, reason := parseTime([]byte(text)); reason != want {
			t.Errorf("%q: %v, %q, want %q", text, got, reason, want)
		}
	}
}

// TestParseTime_RFC3339 compares the accepted times with package time.
func TestParseTime_RFC3339(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[0-9]{4}-(0[0-9]|1[0-3])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,12})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`)
	rapid.Check(t, func(t *rapid.T) {
		text := text.Draw(t, "time")
		want, err := time.Parse(time.RFC3339Nano, text)
		got, reason := parseTime([]byte(text))
		if (err == nil && StorableTime(want)) != (reason == "") || err == nil && !want.Equal(got) && reason == "" {
			t.Errorf("%s: %v, %q, want %v, %v", text, got, reason, want, err)
		}
	})
}

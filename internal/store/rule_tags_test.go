package store

import (
	"encoding/json"
	"strings"
	"testing"

	"quern/internal/jsonfmt"
)

// FuzzTags compares with encoding/json.
func FuzzTags(f *testing.F) {
	for _, seed := range []string{`[]`, `["a", "b"]`, `["\u0000"]`, `[1]`, `["a",]`, `[["a"]]`, ` [ "a" ] `, `["a"]x`, `null`, `"a"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tags, reason := parseTags(text, &texts{})
		if reason != "" {
			return
		}
		var want []string
		if err := json.Unmarshal(text, &want); err != nil || strings.Join(want, "\x00") != strings.Join(tags, "\x00") || len(want) != len(tags) {
			t.Errorf("%q: got %q, want %q, %v", text, tags, want, err)
		}
		if again, reason := parseTags(jsonfmt.AppendStrings(nil, tags), &texts{}); reason != "" || len(again) != len(tags) {
			t.Errorf("%q, written again: %q, %s", text, again, reason)
		}
	})
}

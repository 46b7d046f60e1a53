package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadYAML covers the styles in which a sqlc.yaml may be written.
func TestReadYAML(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	type l = []any
	for name, tt := range map[string]struct {
		text string
		want any
	}{
		"Block":       {"a: 1\nb:\n  c: x y # z\n  d: 'it''s # it'\n# e\n\nf: \"g\\n\\\"\\u00e9\"\n", m{"a": "1", "b": m{"c": "x y", "d": "it's # it"}, "f": "g\n\"é"}},
		"Sequences":   {"---\na:\n- b\n-  c: 1\n   d: 2\n- - e\n  - f\ng:\n  -\n    h: 1\n", m{"a": l{"b", m{"c": "1", "d": "2"}, l{"e", "f"}}, "g": l{m{"h": "1"}}}},
		"Flow":        {"a: {b: [c, 'd', \"e, f\"], g: h, \"i\":1,}\nj: [\n  k, # l\n  {m: n}\n]\no: []\n", m{"a": m{"b": l{"c", "d", "e, f"}, "g": "h", "i": "1"}, "j": l{"k", m{"m": "n"}}, "o": l{}}},
		"JSON":        {"{\n\t\"a\": [{\"b\": true, \"c\": null}],\n\t\"d\": \"e\\/f\"\n}\n", m{"a": l{m{"b": "true", "c": ""}}, "d": "e/f"}},
		"Anchors":     {"a: &x\n  b: 1\nc: *x\nd:\n  <<: *x\n  e: 2\nf: &y [1]\ng: *y\nh:\n  - &z i: 1\n  - *z\n", m{"a": m{"b": "1"}, "c": m{"b": "1"}, "d": m{"b": "1", "e": "2"}, "f": l{"1"}, "g": l{"1"}, "h": l{m{"i": "1"}, m{"i": "1"}}}},
		"Null":        {"a:\nb: ~\nc: null\nd: ''\n", m{"a": "", "b": "", "c": "", "d": ""}},
		"Text":        {"a: |\n  one\n  two: 2\nb: >-\n  three\n  four\nc: 1\n", m{"a": "one\ntwo: 2", "b": "three four", "c": "1"}},
		"PlainLines":  {"a: one\n  two\nb: c:d #e\nf: http://g#h\n", m{"a": "one two", "b": "c:d", "f": "http://g#h"}},
		"WindowsBOM":  {"\ufeffa: 1\r\nb:\r\n  - 2\r\n", m{"a": "1", "b": l{"2"}}},
		"QuotedKey":   {"\"a b\": 1\n'c' : 2\n", m{"a b": "1", "c": "2"}},
		"Pathologies": {"a: 'b\n", nil},
		"Tag":         {"a: !!binary x\n", nil},
		"Alias":       {"a: *b\n", nil},
		"Unclosed":    {"a: [1,\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readYAML(tt.text)
			if (err == nil) != (tt.want != nil) {
				t.Fatalf("error %v, read %v", err, got)
			}
			if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

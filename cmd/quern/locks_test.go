package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// cells returns the cells of a table in Markdown, by row.
func cells(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| ") {
			rows = append(rows, strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | "))
		}
	}
	return rows
}

// TestLocks measures again, and compares the result with docs/locks.md if that covers the
// server's major version.
func TestLocks(t *testing.T) {
	t.Parallel()
	code, out, errs := quern("locks")
	if code != exitSuccess {
		t.Fatalf("exit %d: %s", code, errs)
	}
	text, err := os.ReadFile("../../docs/locks.md")
	if err != nil {
		t.Fatal(err)
	}
	got, want := cells(out), cells(string(text))
	if len(got) != len(want) || len(got) < 60 {
		t.Fatalf("%d rows, docs/locks.md has %d: write it again with `quern locks`", len(got), len(want))
	}
	major := regexp.MustCompile(`^\s*\d+`)
	column := slices.IndexFunc(want[0], func(cell string) bool {
		return strings.HasSuffix(cell, ": lock") && major.FindString(cell) == major.FindString(strings.TrimSpace(got[0][1]))
	})
	if column < 0 {
		return // that version was measured by hand
	}
	for i, row := range got[1:] {
		for n := range 2 {
			if row[1+n] != want[i+1][column+n] {
				t.Errorf("%s: %q, docs/locks.md says %q", row[0], row[1+n], want[i+1][column+n])
			}
		}
	}
}

package main

import (
	"strings"
	"testing"
)

// TestServe_SaidOnce checks errors that pass through several packages. None of the packages may
// repeat the text of another.
func TestServe_SaidOnce(t *testing.T) {
	t.Parallel()
	first := t.TempDir()
	serve(t, first)
	for name, test := range map[string]struct {
		dir, env, text string
		times          int
	}{
		"InUse":   {first, "", "in use", 1},
		"Address": {t.TempDir(), "DATABASE_URL=postgres://127.0.0.1:1/x", "127.0.0.1:1", 2}, // in the URL and in the cause
		"Dial":    {t.TempDir(), "DATABASE_URL=postgres://127.0.0.1:1/x", "dial", 0},
	} {
		p := command(t, test.dir, []string{"CONNECT_RETRIES=0", test.env})
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(t); code != 1 {
			t.Errorf("%s: it exited with %d", name, code)
		}
		if n := strings.Count(p.stderr.String(), test.text); n != test.times {
			t.Errorf("%s: %q is said %d times, want %d: %s", name, test.text, n, test.times, p.stderr)
		}
	}
}

package postgres_test

import (
	"encoding/base64"
	"testing"

	"quern/internal/postgres"
)

// token makes the token of a position.
func token(position byte) string {
	return base64.RawURLEncoding.EncodeToString([]byte{1, 0, 0, 0, 0, 0, 0, 0, position})
}

func TestSession(t *testing.T) {
	t.Parallel()
	_, s := postgres.WithSession(t.Context())
	if got := s.Token(); got != "" {
		t.Errorf("a session that saw nothing has the token %q", got)
	}
	for _, step := range []struct{ observe, want string }{
		{"", ""},
		{token(5), token(5)},
		{token(3), token(5)}, // never back
		{token(9), token(9)},
		{"", token(9)},
	} {
		if err := s.Observe(step.observe); err != nil {
			t.Fatal(err)
		}
		if got := s.Token(); got != step.want {
			t.Errorf("after observing %q: token %q, want %q", step.observe, got, step.want)
		}
	}
	for _, bad := range []string{"x", "!!", token(200) + "A", token(200)[:11], "AwAAAAAAAAAJ", " " + token(200)} {
		if err := s.Observe(bad); err == nil {
			t.Errorf("Observe(%q): no error", bad)
		}
	}
	if got := s.Token(); got != token(9) {
		t.Errorf("bad tokens moved the session to %q", got)
	}
}

// TestSession_Blind: a session that saw more than is known says so to the next
// one, which then reads from the primary alone.
func TestSession_Blind(t *testing.T) {
	t.Parallel()
	const blind = "AgAAAAAAAAAJ"
	_, s := postgres.WithSession(t.Context())
	for _, step := range []string{token(5), blind, token(7)} {
		if err := s.Observe(step); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Token(); got != blind {
		t.Errorf("token %q, want the blind one with the greatest position, %q", got, blind)
	}
	// A position of the primary is past whatever was seen.
	s.Learn(12)
	if got := s.Token(); got != token(12) {
		t.Errorf("token %q after a look at the primary, want %q", got, token(12))
	}
}

func FuzzSessionObserve(f *testing.F) {
	f.Add(token(1))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		_, s := postgres.WithSession(t.Context())
		if s.Observe(text) == nil && s.Token() != text && text != token(0) {
			t.Errorf("Observe(%q) gave the token %q", text, s.Token())
		}
	})
}

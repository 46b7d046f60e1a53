package postgres_test

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"testing"

	"quern/postgres"
)

// token returns the token of a point.
func token(timeline uint32, started, position uint64) string {
	return tokenOf(3, timeline, started, position)
}

// unknownToken returns the token of a session that saw more than the point.
func unknownToken(timeline uint32, started, position uint64) string {
	return tokenOf(4, timeline, started, position)
}

func tokenOf(form byte, timeline uint32, started, position uint64) string {
	b := binary.BigEndian.AppendUint32([]byte{form}, timeline)
	b = binary.BigEndian.AppendUint64(b, started)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, position))
}

// leadToken returns the token of a session that has read from a replica, where all
// transactions that it may have seen are older than next.
func leadToken(form byte, timeline uint32, started, position, next uint64) string {
	b, _ := base64.RawURLEncoding.DecodeString(tokenOf(form, timeline, started, position))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, next))
}

// positionOf returns the position in a token.
func positionOf(t testing.TB, token string) uint64 {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 21 {
		t.Fatalf("token %q: %v", token, err)
	}
	return binary.BigEndian.Uint64(b[13:])
}

// Tokens of the forms that had a position and no history.
const (
	oldToken      = "AQAAAAAAAAAJ"
	oldBlindToken = "AgAAAAAAAAAJ"
)

func TestSession(t *testing.T) {
	t.Parallel()
	_, s := postgres.WithSession(t.Context())
	if got := s.Token(); got != "" {
		t.Errorf("a session that saw nothing has the token %q", got)
	}
	for _, step := range []struct{ observe, want string }{
		{"", ""},
		{token(1, 7, 5), token(1, 7, 5)},
		{token(1, 7, 3), token(1, 7, 5)}, // never backwards
		{token(1, 7, 9), token(1, 7, 9)},
		{"", token(1, 7, 9)},
		{token(1, 8, 2), token(1, 8, 2)}, // positions of different servers cannot be compared
		{token(2, 6, 1), token(2, 6, 1)}, // a higher timeline, with any position
		{token(1, 8, 99), token(2, 6, 1)},
	} {
		if err := s.Observe(step.observe); err != nil {
			t.Fatal(err)
		}
		if got := s.Token(); got != step.want {
			t.Errorf("after observing %q: token %q, want %q", step.observe, got, step.want)
		}
	}
	good := token(9, 9, 9)
	for _, bad := range []string{
		"x", "!!", good + "A", good[:27], " " + good, oldToken + "A", oldToken[:11], "AwAAAAAAAAAJ",
		tokenOf(0, 1, 1, 1), tokenOf(5, 1, 1, 1), tokenOf(1, 1, 1, 1), token(0, 1, 1), unknownToken(0, 1, 1), token(0, 0, 0),
		leadToken(3, 1, 1, 1, 1), leadToken(4, 1, 1, 1, 1), leadToken(5, 1, 1, 1, 0), leadToken(6, 1, 1, 1, 0), leadToken(7, 1, 1, 1, 1),
		leadToken(5, 0, 0, 0, 1), leadToken(6, 0, 0, 0, 1), tokenOf(6, 1, 1, 1),
	} {
		if err := s.Observe(bad); err == nil {
			t.Errorf("Observe(%q): no error", bad)
		}
	}
	if got := s.Token(); got != token(2, 6, 1) {
		t.Errorf("bad tokens moved the session to %q", got)
	}
}

// TestSession_Blind: the token of a session whose position is unknown says so, and the next
// session reads only from the primary.
func TestSession_Blind(t *testing.T) {
	t.Parallel()
	_, s := postgres.WithSession(t.Context())
	for _, step := range []string{token(1, 7, 5), unknownToken(1, 7, 9), token(1, 7, 7)} {
		if err := s.Observe(step); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := s.Token(), unknownToken(1, 7, 9); got != want {
		t.Errorf("token %q, want one with the greatest position and an unknown rest, %q", got, want)
	}
	// A position of the primary covers everything that was seen before.
	s.Learn(1, 7, 12)
	if got, want := s.Token(), token(1, 7, 12); got != want {
		t.Errorf("token %q after a read on the primary, want %q", got, want)
	}
}

// TestSession_OldTokens: a token without a history is accepted, and keeps reads on the
// primary until a new token replaces it.
func TestSession_OldTokens(t *testing.T) {
	t.Parallel()
	for _, old := range []string{oldToken, oldBlindToken} {
		_, s := postgres.WithSession(t.Context())
		if err := s.Observe(old); err != nil {
			t.Fatal(err)
		}
		if got, want := s.Token(), unknownToken(0, 0, 0); got != want {
			t.Errorf("token %q after the old one %q, want one without a point, %q", got, old, want)
		}
		_, next := postgres.WithSession(t.Context())
		if err := next.Observe(s.Token()); err != nil {
			t.Error(err)
		}
		next.Learn(1, 7, 12)
		if got, want := next.Token(), token(1, 7, 12); got != want {
			t.Errorf("token %q after a read on the primary, want %q", got, want)
		}
	}
}

// TestSession_Lead: a token transfers the lead of a session over the primary, within one
// history.
func TestSession_Lead(t *testing.T) {
	t.Parallel()
	const unknown = math.MaxUint64
	_, s := postgres.WithSession(t.Context())
	for _, step := range []struct{ observe, want string }{
		{token(1, 7, 5), token(1, 7, 5)},
		{leadToken(5, 1, 7, 4, 100), leadToken(5, 1, 7, 5, 100)},
		{leadToken(5, 1, 7, 6, 90), leadToken(5, 1, 7, 6, 100)}, // never backwards
		{token(1, 7, 9), leadToken(5, 1, 7, 9, 100)},            // which does not mean that the primary shows it
		{leadToken(5, 1, 7, 9, unknown), leadToken(5, 1, 7, 9, unknown)},
		{token(2, 8, 1), token(2, 8, 1)}, // no transaction continues in another history
		{leadToken(5, 1, 7, 99, 200), token(2, 8, 1)},
		{leadToken(5, 2, 8, 2, 50), leadToken(5, 2, 8, 2, 50)},
		{leadToken(6, 2, 8, 3, 60), leadToken(6, 2, 8, 3, 60)},
	} {
		if err := s.Observe(step.observe); err != nil {
			t.Fatal(err)
		}
		if got := s.Token(); got != step.want {
			t.Errorf("after observing %q: token %q, want %q", step.observe, got, step.want)
		}
	}
}

func FuzzSessionObserve(f *testing.F) {
	f.Add(token(1, 2, 3))
	f.Add(oldToken)
	f.Add(leadToken(5, 1, 2, 3, 4))
	f.Add(leadToken(6, 1, 2, 3, 4))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		_, s := postgres.WithSession(t.Context())
		if s.Observe(text) != nil {
			return
		}
		// An old form may have another text, but no other token may.
		if got := s.Token(); got != text && (len(text) != len(oldToken) || got != unknownToken(0, 0, 0)) {
			t.Errorf("Observe(%q) gave the token %q", text, got)
		}
	})
}

package postgres_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"testing"

	"quern/postgres"
)

// token returns that of a session that has seen a position.
func tokenAt(position uint64) string {
	b := binary.BigEndian.AppendUint32([]byte{3}, 1)
	b = binary.BigEndian.AppendUint64(b, 7)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, position))
}

// TestShare checks that a shared context has seen what each caller has, that the callers learn
// what it sees, and that it does not end with them.
func TestShare(t *testing.T) {
	t.Parallel()
	callers, sessions := make([]context.Context, 3), make([]*postgres.Session, 2)
	var cancel context.CancelFunc
	for i := range sessions {
		callers[i], sessions[i] = postgres.WithSession(t.Context())
		if err := sessions[i].Observe(tokenAt(uint64(10 * (i + 1)))); err != nil {
			t.Fatal(err)
		}
	}
	callers[2], cancel = context.WithCancel(t.Context())
	shared, end := postgres.Share(callers)
	cancel()
	if err := shared.Err(); err != nil {
		t.Errorf("the shared context ends with a caller's: %v", err)
	}
	end(nil)
	for i, s := range sessions {
		if got := s.Token(); got != tokenAt(20) {
			t.Errorf("session %d is at %s, want %s", i, got, tokenAt(20))
		}
	}
	_, end = postgres.Share(callers)
	end(errors.New("lost"))
	if got := sessions[0].Token(); got == tokenAt(20) {
		t.Error("after an error, the session does not know that it may have seen more")
	}
	if shared, end = postgres.Share(callers[2:]); shared.Err() != nil {
		t.Error("without sessions, the shared context ends with a caller's")
	}
	end(nil)
}

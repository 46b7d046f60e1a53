package postgres

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync/atomic"
)

// lsn is a position in the write-ahead log: bytes since its beginning.
type lsn uint64

// Session remembers how far a caller has seen the database: what it wrote and
// what it read. Reads on its context are never answered by a replica that is
// behind that. It is safe for concurrent use.
type Session struct {
	seen atomic.Uint64
	// blind is set when a write was committed but its position could not be
	// learnt: only the primary is sure to have it.
	blind atomic.Bool
}

type sessionKey struct{}

// WithSession returns a context whose statements see each other's effects
// wherever they run, and the session that remembers them.
func WithSession(ctx context.Context) (context.Context, *Session) {
	s := &Session{}
	return context.WithValue(ctx, sessionKey{}, s), s
}

// sessionOf returns the context's session, or nil.
func sessionOf(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

// tokenVersion is the first byte of a token, so that another form of it can be
// told from this one.
const tokenVersion = 1

// Token returns how far the session has seen the database, for another session
// to Observe: an opaque text of the URL's alphabet. It is empty when the
// session has seen nothing that a replica could lack.
func (s *Session) Token() string {
	seen := s.seen.Load()
	if seen == 0 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{tokenVersion}, seen))
}

// errToken says that a text is not what Token returns.
var errToken = errors.New("not a consistency token: pass one on as it came, or none")

// Observe makes the session see at least what the session of the given token
// had seen. Of two tokens the greater holds. The empty token says nothing.
func (s *Session) Observe(token string) error {
	if token == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != 9 || b[0] != tokenVersion {
		return errToken
	}
	s.advance(lsn(binary.BigEndian.Uint64(b[1:])))
	return nil
}

// advance raises what the session has seen; it never lowers it.
func (s *Session) advance(to lsn) {
	for {
		seen := s.seen.Load()
		if uint64(to) <= seen || s.seen.CompareAndSwap(seen, uint64(to)) {
			return
		}
	}
}

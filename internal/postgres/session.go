package postgres

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// lsn is a position in the write-ahead log: bytes since its beginning.
type lsn uint64

// Session remembers how far a caller has seen the database: what it wrote and
// what it read. Reads on its context are never answered by a replica that is
// behind that. It is safe for concurrent use.
type Session struct {
	seen atomic.Uint64

	// blinded counts the statements that went through but whose position could
	// not be learnt: from then on only the primary is sure to have what was
	// seen, until a position learnt there is past it. seeing is how far that
	// has come.
	blinded, seeing atomic.Uint64
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

// The first byte of a token tells its form: what follows is a position, and
// blind tokens say that more was seen than that.
const (
	tokenSeen  = 1
	tokenBlind = 2
)

// Token returns how far the session has seen the database, for another session
// to Observe: an opaque text of the URL's alphabet. It is empty when the
// session has seen nothing that a replica could lack.
func (s *Session) Token() string {
	form := byte(tokenSeen)
	if s.blind() {
		form = tokenBlind
	}
	seen := s.seen.Load()
	if seen == 0 && form == tokenSeen {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{form}, seen))
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
	if err != nil || len(b) != 9 || b[0] != tokenSeen && b[0] != tokenBlind {
		return errToken
	}
	s.advance(lsn(binary.BigEndian.Uint64(b[1:])))
	if b[0] == tokenBlind {
		s.blinded.Add(1)
	}
	return nil
}

// blind reports whether more was seen than is known.
func (s *Session) blind() bool { return s.blinded.Load() > s.seeing.Load() }

// learn advances the session to the position in row, which stands behind a
// statement that was sent when blinded was at blinds. One of the primary is
// past all that was seen until then, wherever that was.
func (s *Session) learn(row pgx.Row, primary bool, blinds uint64) {
	var at int64
	if err := row.Scan(&at); err != nil {
		s.blinded.Add(1)
		return
	}
	s.advance(lsn(at))
	if primary {
		raise(&s.seeing, blinds)
	}
}

// advance raises what the session has seen; it never lowers it.
func (s *Session) advance(to lsn) { raise(&s.seen, uint64(to)) }

func raise(v *atomic.Uint64, to uint64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}

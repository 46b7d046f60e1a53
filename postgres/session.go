package postgres

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Session records how far a caller has seen the database, by its writes and its reads.
// Reads with its context never run on a replica that is behind that position or has another
// history. It is safe for concurrent use.
type Session struct {
	mu   sync.Mutex
	seen point // replaced as a whole, because positions of two histories cannot be compared

	// epoch counts the statements that were executed but whose position was lost. From then
	// on, only the primary certainly has everything that the session saw, until a later
	// position is learned there. knownEpoch is the epoch that the known position covers.
	epoch, knownEpoch uint64

	lead lead // over the primary, from reads on replicas
}

type sessionKey struct{}

// WithSession returns a context whose statements see each other's effects on any server,
// and the session that tracks them.
func WithSession(ctx context.Context) (context.Context, *Session) {
	s := &Session{}
	return context.WithValue(ctx, sessionKey{}, s), s
}

// sessionOf returns the context's session, or nil.
func sessionOf(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

// The first byte of a token is its form. All current forms contain a point. In an Unknown
// form, the session has seen more than that point. A Lead form adds how far the session has
// seen replicas ahead of the primary. Forms 1 and 2 had a position without its history.
// They are still accepted, and send reads to the primary until the next response brings a
// token of a current form.
const (
	tokenPosition        = 1
	tokenPositionUnknown = 2
	tokenPoint           = 3
	tokenPointUnknown    = 4
	tokenLead            = 5
	tokenLeadUnknown     = 6

	// Lengths of a token by form.
	positionLength = 1 + 8
	pointLength    = 1 + 4 + 8 + 8
	leadLength     = pointLength + 8
)

// Token returns how far the session has seen the database, as an opaque text in the URL
// alphabet that another session can Observe. It is empty if the session has seen nothing
// that a replica could be missing.
func (s *Session) Token() string {
	seen, unknown := s.state()
	if seen == (point{}) && !unknown {
		return ""
	}
	b := make([]byte, 1, leadLength)
	b[0] = tokenPoint
	l := s.currentLead()
	leads := l.open() && l.history == seen.history
	if leads {
		b[0] = tokenLead
	}
	if unknown {
		b[0]++
	}
	b = binary.BigEndian.AppendUint32(b, seen.timeline)
	b = binary.BigEndian.AppendUint64(b, uint64(seen.started))
	b = binary.BigEndian.AppendUint64(b, uint64(seen.at))
	if leads {
		b = binary.BigEndian.AppendUint64(b, l.mark())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// errToken: a text was not returned by Token.
var errToken = errors.New("not a consistency token: send back the token of the last response unchanged, or none")

// Observe advances the session to at least the position of the given token. Of two tokens
// with one history, the greater position wins. Of two timelines, the higher one wins. Of
// two histories with one timeline, the token that was observed last wins. The empty token
// has no effect.
func (s *Session) Observe(token string) error {
	if token == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) == 0 {
		return errToken
	}
	form, mark := b[0], uint64(0)
	switch {
	case (form == tokenPosition || form == tokenPositionUnknown) && len(b) == positionLength:
		s.markUnknown()
		return nil
	case (form == tokenPoint || form == tokenPointUnknown) && len(b) == pointLength:
	case (form == tokenLead || form == tokenLeadUnknown) && len(b) == leadLength:
		if mark = binary.BigEndian.Uint64(b[pointLength:]); mark == 0 {
			return errToken
		}
	default:
		return errToken
	}
	p := point{
		history: history{binary.BigEndian.Uint32(b[1:]), int64(binary.BigEndian.Uint64(b[5:]))},
		at:      lsn(binary.BigEndian.Uint64(b[13:])),
	}
	// Only a session with an unknown position may have no point. Any other point has a
	// timeline, and timelines start at 1.
	if p.timeline == 0 && (form != tokenPointUnknown || p != point{}) {
		return errToken
	}
	s.advance(p)
	if mark > 0 {
		s.mergeLead(leadOf(p.history, mark))
	}
	if form == tokenPointUnknown || form == tokenLeadUnknown {
		s.markUnknown()
	}
	return nil
}

// state returns the session's position, and whether the session may have seen more than
// that.
func (s *Session) state() (seen point, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.epoch > s.knownEpoch
}

// currentEpoch returns how often the session's position became unknown.
func (s *Session) currentEpoch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

func (s *Session) markUnknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

// learn advances the session to the position in row. The position was queried after a
// statement that was sent in the given epoch. A position of the primary covers everything
// that was seen before, on any server.
func (s *Session) learn(row pgx.Row, where route, epoch uint64, hs *histories) {
	p, l, err := where.scanPoint(row)
	if err != nil {
		s.markUnknownOn(where)
		return
	}
	if where.replica != nil {
		s.advance(p)
		s.mergeLead(l)
		return
	}
	hs.reportedByStatement(p.history)
	s.advance(p)
	s.markKnown(epoch)
}

// markUnknownOn records that the caller saw something on the server of the route, at an
// unknown position.
func (s *Session) markUnknownOn(where route) {
	if where.replica != nil {
		s.advance(point{history: where.history})
		s.mergeLead(lead{history: where.history, lost: 1})
	}
	s.markUnknown()
}

// markKnown records that the session's position covers everything up to the given epoch.
func (s *Session) markKnown(epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knownEpoch = max(s.knownEpoch, epoch)
}

// advance merges a point into the session's position.
func (s *Session) advance(p point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.history == s.seen.history:
		s.seen.at = max(s.seen.at, p.at)
	case p.timeline >= s.seen.timeline:
		s.seen = p
	}
}

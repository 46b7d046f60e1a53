package postgres

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Session remembers how far a caller has seen the database: what it wrote and
// what it read. Reads on its context are never answered by a replica that is
// behind that, or that has another history. It is safe for concurrent use.
type Session struct {
	mu   sync.Mutex
	seen point // replaced as a whole: positions of two histories are not comparable

	// epoch counts the statements that went through but whose position could
	// not be learnt: from then on only the primary is sure to have what was
	// seen, until a position learnt there is past it. seeing is how far that
	// has come.
	epoch, knownEpoch uint64

	lead lead // what it has seen on replicas, and not on the primary
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

// The first byte of a token is its form. All current forms carry a point; a
// unknown token says that its session saw more than that, and one with a lead how
// far replicas were that the session read from. The forms 1 and 2 had a
// position without its history. They are still read, and send reads to the
// primary until the next answer brings a token of a current form.
const (
	tokenPosition        = 1
	tokenPositionUnknown = 2
	tokenPoint           = 3
	tokenPointUnknown    = 4
	tokenLead            = 5
	tokenLeadUnknown     = 6

	// lengths of a token of a form
	positionLength = 1 + 8
	pointLength    = 1 + 4 + 8 + 8
	leadLength     = pointLength + 8
)

// Token returns how far the session has seen the database, for another session
// to Observe: an opaque text of the URL's alphabet. It is empty when the
// session has seen nothing that a replica could lack.
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

// errToken says that a text is not what Token returns.
var errToken = errors.New("not a consistency token: send back the token of the last response unchanged, or none")

// Observe makes the session see at least what the session of the given token
// had seen. Of two tokens of one history the greater position counts, of two
// timelines the higher one, and of two histories with one timeline the token
// that was observed last. The empty token says nothing.
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
	// A unknown session may have learnt no point at all; any other point has a
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

// state returns what the session has seen, and whether it has seen more than
// is known.
func (s *Session) state() (seen point, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.epoch > s.knownEpoch
}

// epoch is how often the session's position became unknown.
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

// learn advances the session to the position in row, which was asked for after
// a statement that was sent when epoch was what it is given as. A position of
// the primary is past all that was seen until then, wherever that was.
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

// markUnknownOn notes that the caller saw something on the server of the route, and that
// it is not known how far that was.
func (s *Session) markUnknownOn(where route) {
	if where.replica != nil {
		s.advance(point{history: where.history})
		s.mergeLead(lead{history: where.history, lost: 1})
	}
	s.markUnknown()
}

// markKnown notes that the session's position is past all that was unknown when
// epoch was what it is given as.
func (s *Session) markKnown(epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.knownEpoch = max(s.knownEpoch, epoch)
}

// advance merges a point into what the session has seen.
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

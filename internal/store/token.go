package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"iter"
	"strings"
	"time"

	"quern/internal/db"
)

const (
	// tokenPrefix begins every token, so that people and secret scanners recognize one.
	tokenPrefix = "quern_"

	// tokenBytes is the length of a token's random part. 256 bits cannot be guessed, so
	// their hash needs neither salt nor a slow function.
	tokenBytes = 32
)

// tokenLength is the length of every token.
var tokenLength = len(tokenPrefix) + base64.RawURLEncoding.EncodedLen(tokenBytes)

// NewToken describes an API token to be created.
type NewToken struct {
	Name     string // 1 to 100 characters
	Scope    db.TokenScope
	Lifetime time.Duration // 0 means that it never expires
}

// CreatedToken is a new API token. Its text is not stored, so it cannot be shown again.
type CreatedToken struct {
	ID        int64
	Text      string
	ExpiresAt *time.Time // nil if it never expires
}

// CreateToken creates an API token in one statement. Servers accept it at once.
func (s *Store) CreateToken(ctx context.Context, t NewToken) (_ CreatedToken, err error) {
	defer annotate(&err, "create token")
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // never returns an error
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	p := db.CreateTokenParams{Name: t.Name, Scope: t.Scope, Hash: hashToken(text)}
	if t.Lifetime > 0 {
		p.LifetimeSeconds = new(t.Lifetime.Seconds())
	}
	row, err := s.q.CreateToken(ctx, p)
	if err != nil {
		return CreatedToken{}, err
	}
	return CreatedToken{ID: row.ID, Text: text, ExpiresAt: row.ExpiresAt}, nil
}

// RevokeToken revokes an API token, also one that is revoked already. If there is none with
// this id, it returns postgres.ErrNotFound. Servers reject it within 5 s.
func (s *Store) RevokeToken(ctx context.Context, id int64) (_ *db.RevokeTokenRow, err error) {
	defer annotate(&err, "revoke token")
	return s.q.RevokeToken(ctx, id)
}

func hashToken(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// tokenPage is how many tokens one statement reads.
const tokenPage = 1000

// EachToken yields all API tokens in the order of their ids, also expired and revoked ones.
// It reads them page by page. After an error it ends.
func (s *Store) EachToken(ctx context.Context) iter.Seq2[*db.ListTokensRow, error] {
	return func(yield func(*db.ListTokensRow, error) bool) {
		after := int64(0)
		for {
			page, err := s.q.ListTokens(ctx, db.ListTokensParams{Key: after, RowLimit: tokenPage})
			if annotate(&err, "list tokens"); err != nil {
				yield(nil, err)
				return
			}
			for _, t := range page {
				if !yield(t, nil) {
					return
				}
				after = t.ID
			}
			if len(page) < tokenPage {
				return
			}
		}
	}
}

// RedactTokens replaces the API tokens in a text, for errors that quote their input.
func RedactTokens(text string) string {
	for from := 0; ; {
		i := strings.Index(text[from:], tokenPrefix)
		if i < 0 {
			return text
		}
		start := from + i + len(tokenPrefix)
		end := start
		for end < len(text) && isTokenByte(text[end]) {
			end++
		}
		// A part of a token is redacted too, because an error may have cut it.
		text = text[:start] + "xxxxx" + text[end:]
		from = start + len("xxxxx")
	}
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

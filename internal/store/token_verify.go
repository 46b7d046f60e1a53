package store

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quern/internal/db"
)

// ErrTokenInvalid: no token has this text, or it is expired or revoked.
var ErrTokenInvalid = errors.New("the API token is unknown, expired or revoked")

const (
	// tokensFresh is the age at which the tokens in memory are read again in the
	// background. So a busy server notices a revocation within about a second.
	tokensFresh = time.Second

	// tokensStale is the age at which a request waits until they are read again. With the
	// second that the statement may take, a revocation takes effect within 5 s.
	tokensStale = 4 * time.Second

	// tokensGrace is how long the tokens in memory stay valid if the primary does not
	// answer. It is long enough for a failover. In that time no token can be revoked
	// either, unless only this server is cut off.
	tokensGrace = time.Minute

	// tokensPause is the shortest time between two reads. An unknown token may be new, so
	// it causes a read, and unknown tokens must not cause more reads the more of them come.
	tokensPause = 100 * time.Millisecond

	// tokensUsedPause is how often the times of use are stored.
	tokensUsedPause = time.Minute
)

// Token is a valid API token.
type Token struct {
	ID    int64
	Name  string
	Scope db.TokenScope

	hash    [sha256.Size]byte
	expires time.Time // by the monotonic clock of this process; zero means never
	use     *tokenUse
}

// Allows reports whether the token's scope includes a scope.
func (t *Token) Allows(scope db.TokenScope) bool {
	order := []db.TokenScope{db.TokenScopeRead, db.TokenScopeWrite, db.TokenScopeOperate}
	return slices.Index(order, t.Scope) >= slices.Index(order, scope)
}

// Key returns an idempotency key that belongs to the token, or to no token if t is nil. Keys
// of clients have no space, so a key of one token is never that of another one or of none.
func (t *Token) Key(key string) string {
	if t == nil || key == "" {
		return key
	}
	return strconv.FormatInt(t.ID, 10) + " " + key
}

// tokenUse is when a token was used. It stays when the tokens are read again.
type tokenUse struct {
	last   atomic.Int64 // Unix nanoseconds
	stored int64        // the value of last that was stored
}

// tokenSet is all valid tokens at one time.
type tokenSet struct {
	began  time.Time // when reading them began
	byHash map[tokenKey]*Token
}

// tokenKey is the beginning of a token's hash. A caller cannot choose it bit by bit, so
// the time of a look-up reveals nothing. The rest is compared in constant time.
type tokenKey [8]byte

// tokenTimes are the constants above, which tests shorten.
type tokenTimes struct{ fresh, stale, grace, pause, used time.Duration }

// Tokens verifies API tokens. It holds all valid tokens in memory and reads them again
// while they are used, so a request rarely waits for the database, and unknown tokens cost
// it nothing. It is safe for concurrent use.
type Tokens struct {
	q     *db.Queries
	log   *slog.Logger
	times tokenTimes

	now     atomic.Pointer[tokenSet]
	reading atomic.Bool   // a background read is running
	turn    chan struct{} // held by the goroutine that reads
	failed  error         // of the last read; guarded by turn, like the next
	tried   time.Time     // when the last read began

	mu   sync.Mutex
	uses map[int64]*tokenUse
}

// NewTokens returns the Tokens of the database of q.
func NewTokens(q *db.Queries, log *slog.Logger) *Tokens {
	times := tokenTimes{tokensFresh, tokensStale, tokensGrace, tokensPause, tokensUsedPause}
	return &Tokens{q: q, log: log, times: times, turn: make(chan struct{}, 1), uses: map[int64]*tokenUse{}}
}

// Verify returns the valid token with this text. A new token is valid at once. A revoked or
// expired one is invalid within 5 s. If the database does not answer, the tokens of the last
// minute stay valid, and for others it returns the error of the database. Otherwise it
// returns ErrTokenInvalid.
func (t *Tokens) Verify(ctx context.Context, text string) (*Token, error) {
	if len(text) != tokenLength || !strings.HasPrefix(text, tokenPrefix) {
		return nil, ErrTokenInvalid
	}
	hash := sha256.Sum256([]byte(text))
	asked := time.Now()
	set, err := t.current(ctx, asked)
	if err != nil {
		return nil, err
	}
	found := set.find(&hash, asked)
	if found == nil && set.began.Before(asked) {
		// It may have been created since.
		if set, err = t.since(ctx, asked); err != nil {
			return nil, err
		}
		found = set.find(&hash, asked)
	}
	if found == nil {
		return nil, ErrTokenInvalid
	}
	// Once a second is enough, and fewer writes do not slow down other cores.
	if at := asked.UnixNano(); at-found.use.last.Load() > int64(time.Second) {
		found.use.last.Store(at)
	}
	return found, nil
}

// Any reports whether there is a valid token.
func (t *Tokens) Any(ctx context.Context) (bool, error) {
	set, err := t.since(ctx, time.Now())
	if err != nil {
		return false, err
	}
	return len(set.byHash) > 0, nil
}

func (s *tokenSet) find(hash *[sha256.Size]byte, at time.Time) *Token {
	t := s.byHash[tokenKey(hash[:])]
	if t == nil || subtle.ConstantTimeCompare(t.hash[:], hash[:]) != 1 || !t.expires.IsZero() && !at.Before(t.expires) {
		return nil
	}
	return t
}

// current returns the tokens in memory, or reads them if they are too old.
func (t *Tokens) current(ctx context.Context, at time.Time) (*tokenSet, error) {
	set := t.now.Load()
	if set == nil || at.Sub(set.began) > t.times.stale {
		read, err := t.since(ctx, at.Add(-t.times.stale))
		if err == nil {
			return read, nil
		}
		if set == nil || at.Sub(set.began) > t.times.grace {
			return nil, err
		}
		return set, nil
	}
	if at.Sub(set.began) > t.times.fresh && t.reading.CompareAndSwap(false, true) {
		// Not with the context of the request, because other requests use the result.
		go func() {
			defer t.reading.Store(false)
			_, _ = t.since(context.Background(), at.Add(-t.times.fresh)) // read logs the error
		}()
	}
	return set, nil
}

// since returns the tokens of a read that began after the given time, or its error. If
// there was none, it reads them, after the pause.
func (t *Tokens) since(ctx context.Context, start time.Time) (*tokenSet, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !t.tried.After(start) {
		if wait := t.times.pause - time.Since(t.tried); wait > 0 && !pause(ctx, wait) {
			return nil, ctx.Err()
		}
		t.read()
	}
	return t.now.Load(), t.failed
}

// read reads all valid tokens. Its time is limited by that of the statement. It does not
// use the context of a request, whose statements are counted, and which may be cancelled.
func (t *Tokens) read() {
	t.tried = time.Now()
	set := &tokenSet{began: t.tried, byHash: map[tokenKey]*Token{}}
	after := int64(0)
	for {
		page, err := t.q.ListValidTokens(context.Background(), db.ListValidTokensParams{Key: after, RowLimit: tokenPage})
		if err != nil {
			if t.failed == nil {
				t.log.Warn("the API tokens could not be read: those that were valid in the last minute stay valid", "error", err)
			}
			t.failed = err
			return
		}
		for _, row := range page {
			token := &Token{ID: row.ID, Name: row.Name, Scope: row.Scope, hash: [sha256.Size]byte(row.Hash), use: t.useOf(row.ID)}
			if row.ExpiresAt != nil {
				token.expires = set.began.Add(row.ExpiresAt.Sub(row.ReadAt))
			}
			set.byHash[tokenKey(row.Hash)] = token
			after = row.ID
		}
		if len(page) < tokenPage {
			break
		}
	}
	t.failed = nil
	t.now.Store(set)
}

func (t *Tokens) useOf(id int64) *tokenUse {
	t.mu.Lock()
	defer t.mu.Unlock()
	use := t.uses[id]
	if use == nil {
		use = &tokenUse{}
		t.uses[id] = use
	}
	return use
}

// Run stores every minute when tokens were last used, until ctx is cancelled, and then for
// the last time.
func (t *Tokens) Run(ctx context.Context) {
	for pause(ctx, t.times.used) {
		t.storeUses(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	t.storeUses(last)
}

// storeUses stores when tokens were last used, if they were used since it was called last.
func (t *Tokens) storeUses(ctx context.Context) {
	now := time.Now()
	var p db.SetTokensUsedParams
	uses := map[*tokenUse]int64{}
	t.mu.Lock()
	// In one order, so that two processes do not wait for each other's rows.
	for _, id := range slices.Sorted(maps.Keys(t.uses)) {
		use := t.uses[id]
		if last := use.last.Load(); last != use.stored {
			p.Ids = append(p.Ids, id)
			p.SecondsAgo = append(p.SecondsAgo, now.Sub(time.Unix(0, last)).Seconds())
			uses[use] = last
		}
	}
	t.mu.Unlock()
	if len(p.Ids) == 0 {
		return
	}
	if err := t.q.SetTokensUsed(ctx, p); err != nil {
		if ctx.Err() == nil {
			t.log.WarnContext(ctx, "the last use of API tokens could not be stored", "error", err)
		}
		return
	}
	for use, last := range uses {
		use.stored = last
	}
}

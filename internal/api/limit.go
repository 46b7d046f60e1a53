package api

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quern/internal/store"
)

// TokenLimits limits the requests of each API token, in this process. Requests without a
// token have no such limits.
type TokenLimits struct {
	// Rate is how many requests a token may send a second, on average. Defaults to 0, which
	// means no limit.
	Rate float64

	// Burst is how many requests it may send at once after a pause. Defaults to Rate, and to
	// 1 if that is less.
	Burst int

	// Bulk is how many imports, exports, statistics and requests for many rows it may have
	// running. Defaults to 0, which means no limit.
	Bulk int
}

// limiter counts the requests of each token.
type limiter struct {
	TokenLimits
	tokens sync.Map // int64 to *tokenCounts; as many as there are valid tokens
	start  time.Time
}

// tokenCounts is the state of one token.
type tokenCounts struct {
	next atomic.Int64 // when the next request is due at the steady rate, in ns after limiter.start
	bulk atomic.Int64 // running bulk requests
}

func newLimiter(l TokenLimits) *limiter {
	if l.Burst <= 0 {
		l.Burst = max(1, int(math.Ceil(l.Rate)))
	}
	return &limiter{TokenLimits: l, start: time.Now()}
}

func (l *limiter) counts(t *store.Token) *tokenCounts {
	if c, ok := l.tokens.Load(t.ID); ok {
		return c.(*tokenCounts)
	}
	c, _ := l.tokens.LoadOrStore(t.ID, &tokenCounts{})
	return c.(*tokenCounts)
}

// admit returns a problem if the token has sent more requests than Rate and Burst allow. It is
// the generic cell rate algorithm, a leaky bucket without a timer: next moves ahead of the
// time by one interval with each request, and may be ahead by Burst intervals.
func (l *limiter) admit(t *store.Token) *Problem {
	if l.Rate <= 0 {
		return nil
	}
	interval := int64(float64(time.Second) / l.Rate)
	next := &l.counts(t).next
	for {
		now, due := int64(time.Since(l.start)), next.Load()
		after := max(now, due) + interval
		if wait := time.Duration(after - now - int64(l.Burst)*interval); wait > 0 {
			p := newProblem(codeRateLimited)
			p.header = http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(wait.Seconds())))}}
			return p
		}
		if next.CompareAndSwap(due, after) {
			return nil
		}
	}
}

// isBulk reports whether an operation reads or writes any number of rows.
func isBulk(op *huma.Operation) bool {
	return op.Metadata[streams] == true || op.Metadata[workClass] == "bulk" || op.MaxBodyBytes == maxBulkBytes || strings.HasPrefix(op.Path, "/v1/stats/")
}

// limitBulk is the middleware of bulk operations. It rejects a request at once instead of
// letting it wait, because a token must not fill the queue in which others wait.
func (s *server) limitBulk(ctx huma.Context, next func(huma.Context)) {
	token := tokenOf(ctx.Context())
	if token == nil || s.limits.Bulk <= 0 {
		next(ctx)
		return
	}
	running := &s.limits.counts(token).bulk
	defer running.Add(-1)
	if running.Add(1) > int64(s.limits.Bulk) {
		p := newProblem(codeBulkLimited)
		p.header = retryAfter(codeBulkLimited)
		r, w := humago.Unwrap(ctx)
		refuse(w, r, p)
		return
	}
	next(ctx)
}

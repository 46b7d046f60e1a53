package api

import (
	"cmp"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// consistencyToken is the header with the position of the last data that a client has
// written or read. If the client sends back the last one, no response is based on older
// data. Browsers do not send headers back, so for them it is also a cookie.
const (
	consistencyToken       = "Consistency-Token"
	consistencyTokenCookie = "consistency_token"
)

// queryBudget is the default of Config.QueryBudget. One statement can return all that a
// request needs of a list.
const queryBudget = 20

// requestInfo holds the consistency token and the timing of a request and its response.
type requestInfo struct {
	session *postgres.Session
	stats   *postgres.Stats
	budget  int       // Config.QueryBudget; 0 is the default
	sent    string    // the token that the client had
	timing  [1]string // the header Server-Timing
}

// begin uses the client's token. An invalid header is an error of the client. An invalid
// cookie is ignored, because another application on the same host may have set it.
func (i *requestInfo) begin(r *http.Request) *Problem {
	if cookie, err := r.Cookie(consistencyTokenCookie); err == nil && i.session.Observe(cookie.Value) == nil {
		i.sent = i.session.Token()
	}
	if err := i.session.Observe(r.Header.Get(consistencyToken)); err != nil {
		return newProblem(codeInvalidToken, FieldError{Location: "header." + consistencyToken, Message: err.Error()})
	}
	return nil
}

// head adds the headers that must precede the body.
func (i *requestInfo) head(h http.Header) {
	if n, took := i.stats.Total(); n > 0 {
		i.timing[0] = timing(n, took)
		h["Server-Timing"] = i.timing[:]
	}
	token := i.session.Token()
	if token == "" {
		return
	}
	h.Set(consistencyToken, token)
	if token != i.sent {
		cookie := http.Cookie{
			Name: consistencyTokenCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		}
		h.Add("Set-Cookie", cookie.String())
	}
}

// timing formats the number and the duration of the statements.
func timing(statements int, took time.Duration) string {
	b := make([]byte, 0, 64)
	b = append(b, "db;dur="...)
	b = strconv.AppendFloat(b, float64(took)/float64(time.Millisecond), 'f', 3, 64)
	b = append(b, `;desc="statements: `...)
	b = strconv.AppendInt(b, int64(statements), 10)
	return string(append(b, '"'))
}

// end logs a statement that ran once for each row of a list.
func (i *requestInfo) end(r *http.Request, logger *slog.Logger) {
	if name, times := i.stats.Most(); times > cmp.Or(i.budget, queryBudget) {
		logger.LogAttrs(r.Context(), slog.LevelWarn, "one request ran the same statement many times: ask for all rows in one",
			slog.String("request_id", requestID(r.Context())),
			slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.String("query", name), slog.Int("times", times), slog.String("hint", postgres.Instead(db.Statements, name)))
	}
}

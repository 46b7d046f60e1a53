package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// NotReady is the reason why the server is not ready, in words that may be shown to anyone,
// such as "draining". Config.Ready returns it.
type NotReady string

func (r NotReady) Error() string { return string(r) }

// readyTimeout limits the check. Probes repeat it anyway.
const readyTimeout = 5 * time.Second

// healthGet accepts any parameters, so that a probe that sends some does not report the
// service as unhealthy.
type healthGet struct{}

// Health is the body of a successful check.
type Health struct {
	Status string `json:"status" enum:"ok" example:"ok"`
}

type healthFound struct {
	Body Health
}

func (s *server) registerHealth() {
	tags := s.tag("health", "For operators of the service.")
	register(s, huma.Operation{
		OperationID: "livez", Method: http.MethodGet, Path: "/livez", Tags: tags,
		Summary:     "Is the process alive?",
		Description: "If it responds, the process is alive. It does not query the database.",
	}, nil, s.livez)
	register(s, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: tags,
		Summary:     "Can requests be served?",
		Description: "Not ready while the database does not answer, a migration is pending or the server is shutting down. A server whose database connections are all in use is still ready.",
	}, []code{codeUnavailable}, s.readyz)
}

func (s *server) livez(context.Context, *healthGet) (*healthFound, error) {
	return &healthFound{Body: Health{Status: "ok"}}, nil
}

func (s *server) readyz(ctx context.Context, _ *healthGet) (*healthFound, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err := s.Ready(ctx)
	s.logReadiness(ctx, err)
	if err == nil {
		return s.livez(ctx, nil)
	}
	p := newProblem(codeUnavailable)
	p.header = http.Header{"Retry-After": {"1"}}
	if reason := NotReady(""); errors.As(err, &reason) {
		p.Detail = "Not ready: " + reason.Error() + "."
	} else if known := lookup(err); known != nil {
		p.Detail = "Not ready: " + known.Detail
	} else {
		p.Detail = "Not ready."
	}
	return nil, p
}

// logReadiness logs only changes, because probes ask every few seconds, and an outage would
// fill the log with one message.
func (s *server) logReadiness(ctx context.Context, err error) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	if before := s.notReady.Swap(&reason); (before == nil && err == nil) || (before != nil && *before == reason) {
		return
	}
	if err == nil {
		s.Logger.LogAttrs(ctx, slog.LevelInfo, "ready again")
		return
	}
	s.Logger.LogAttrs(ctx, slog.LevelWarn, "not ready",
		slog.String("request_id", requestID(ctx)), slog.Any("error", err))
}

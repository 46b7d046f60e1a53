package api

import (
	"context"
	"log/slog"
)

// LogHandler returns a handler that adds the id of the request to each record that is
// logged with its context. So a slow statement can be matched with the request that sent
// it.
func LogHandler(next slog.Handler) slog.Handler { return requestHandler{next} }

type requestHandler struct{ slog.Handler }

func (h requestHandler) Handle(ctx context.Context, r slog.Record) error {
	id := requestID(ctx)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "request_id" {
			id = "" // the record has it already
		}
		return id != ""
	})
	if id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}

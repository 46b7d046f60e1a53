package api

import (
	"context"
	"log/slog"
	"time"
)

// Audit writes an audit line, whatever the level of the logger is: act is what was done, who
// did it, target what it was done to, and outcome what became of it.
func Audit(ctx context.Context, logger *slog.Logger, attrs ...slog.Attr) {
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "audit", 0)
	record.AddAttrs(attrs...)
	_ = logger.Handler().Handle(ctx, record) // there is no other place for the error
}

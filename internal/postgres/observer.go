package postgres

import (
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// observer sees every statement by name when it ends.
type observer struct {
	logger    *slog.Logger
	all       bool          // log every statement
	arguments bool          // and what it was given
	slow      time.Duration // warn from here on; negative: never
}

// statement is called when a statement has ended.
func (o *observer) statement(r *run, tag pgconn.CommandTag, err error) {
	took := time.Since(r.start)
	if stats, ok := r.ctx.Value(statsKey{}).(*Stats); ok {
		stats.add(r.statement.Name, took)
	}
	level, message := slog.LevelDebug, "query"
	switch {
	case o.slow >= 0 && took >= o.slow:
		level, message = slog.LevelWarn, "slow query"
	case !o.all:
		return
	}
	if !o.logger.Enabled(r.ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("query", r.statement.Name), slog.Duration("took", took), slog.Int64("rows", tag.RowsAffected()),
	}
	if r.where.replica != nil {
		attrs = append(attrs, slog.String("replica", r.where.replica.name))
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		attrs = append(attrs, slog.Any("error", err))
	}
	if o.arguments {
		attrs = append(attrs, slog.Any("arguments", r.args))
	}
	o.logger.LogAttrs(r.ctx, level, message, attrs...)
}

// retry is called before a statement or transaction is repeated.
func (o *observer) retry(name, reason string) {
	o.logger.Debug("repeated", "query", name, "reason", reason)
}

// settled is called when the outcome of a lost COMMIT was found out:
// committed or aborted.
func (o *observer) settled(outcome string) {
	o.logger.Warn("the answer to a COMMIT was lost and its outcome found out", "outcome", outcome)
}

// unknown is called when the outcome of a lost COMMIT could not be found out.
func (o *observer) unknown() {
	o.logger.Error("the answer to a COMMIT was lost and its outcome could not be found out")
}

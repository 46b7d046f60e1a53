package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// markerSweep is the pause between two sweeps, and markerBatch how many go
	// in one statement.
	markerSweep = time.Minute
	markerBatch = 10_000
)

// markers are the statements on the table of commit markers, and its sweep.
type markers struct {
	create, sweep *statement
	key           string // the constraint that refuses a marker that is there
	table         atomic.Int32
	cancel        context.CancelFunc
	done          chan struct{}
}

// What is known of the table of commit markers. Without it, transactions leave no
// marker.
const (
	markersUnknown int32 = iota
	markersExist
	markersMissing
)

func newMarkers(c Config, r *registry) *markers {
	t := c.tables()
	return &markers{create: r.find(t.createMarker()), sweep: r.find(t.sweepMarkers()), key: t.markerKey()}
}

// start sweeps old markers in the background, if their table exists. It may be
// created later, by a migration.
func (m *markers) start(r *Router) {
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		// Jitter, so that many processes do not sweep at once.
		for pause(ctx, markerSweep/2+rand.N(markerSweep)) {
			if m.table.Load() != markersExist && !r.findMarkers(ctx) {
				continue
			}
			if err := r.sweepMarkers(ctx); err != nil && ctx.Err() == nil {
				r.cfg.Logger.WarnContext(ctx, "commit markers could not be swept", "error", err)
			}
		}
	}()
}

func (m *markers) stop() {
	if m.cancel != nil {
		m.cancel()
		<-m.done
	}
}

func (r *Router) sweepMarkers(ctx context.Context) error {
	for {
		tag, err := r.Exec(ctx, r.markers.sweep.SQL, markerBatch)
		if err != nil {
			return fmt.Errorf("sweep commit markers: %w", err)
		}
		if tag.RowsAffected() < markerBatch {
			return nil
		}
	}
}

// look asks on a connection, in no transaction, whether the table of commit markers
// exists. If the server does not say, nothing changes. It logs that the table is
// missing when it is looked for in vain the first time, unless quiet is set: then
// that stays unknown.
func (m *markers) look(ctx context.Context, conn rowQuerier, cfg Config, quiet bool) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	var there bool
	// Not prepared: a pooler may be in between.
	err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", pgx.QueryExecModeExec, cfg.tables().markers.Sanitize()).Scan(&there)
	switch {
	case err != nil:
		cfg.Logger.DebugContext(ctx, "the table of commit markers could not be looked up", "error", oneLine(err))
	case there:
		m.table.Store(markersExist)
	case !quiet && m.table.Swap(markersMissing) != markersMissing:
		cfg.Logger.WarnContext(ctx, errNoTable(cfg.MarkerTable, "a COMMIT whose answer is lost ends in ErrCommitUnknown").Error())
	}
}

// findMarkers looks for the table over the pool, and reports whether it exists.
func (r *Router) findMarkers(ctx context.Context) bool {
	r.markers.look(ctx, r.primary, r.cfg, false)
	return r.markers.table.Load() == markersExist
}

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
	// markerSweep is the pause between two sweeps. markerBatch is how many markers one
	// statement deletes.
	markerSweep = time.Minute
	markerBatch = 10_000
)

// markers are the statements on the table of commit markers, and its sweep.
type markers struct {
	create, createMany, sweep *statement

	key    string // the constraint that rejects an existing marker
	table  atomic.Int32
	cancel context.CancelFunc
	done   chan struct{}
}

// Whether the table of commit markers exists. If it does not, transactions write no marker.
const (
	markersUnknown int32 = iota
	markersExist
	markersMissing
)

func newMarkers(c Config, r *registry) *markers {
	t := c.tables()
	return &markers{create: r.find(t.createMarker()), createMany: r.find(t.createMarkers()), sweep: r.find(t.sweepMarkers()), key: t.markerKey()}
}

// start sweeps old markers in the background if their table exists. A migration may create
// it later.
func (m *markers) start(r *Router) {
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		// Jitter, so that many processes do not sweep at the same time.
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

// look queries whether the table of commit markers exists, on a connection without a
// transaction. If the query fails, nothing changes. If the table is missing for the first
// time, look logs it. With quiet it does not, and the answer remains unknown.
func (m *markers) look(ctx context.Context, conn rowQuerier, cfg Config, quiet bool) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	var there bool
	// Not prepared, because there may be a pooler in between.
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

// findMarkers looks for the table through the pool, and reports whether it exists.
func (r *Router) findMarkers(ctx context.Context) bool {
	r.markers.look(ctx, r.primary, r.cfg, false)
	return r.markers.table.Load() == markersExist
}

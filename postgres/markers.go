package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
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
	markersThere
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
			if m.table.Load() != markersThere && !r.findMarkers(ctx) {
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

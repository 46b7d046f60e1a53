package postgres

import (
	"context"
	"time"
)

// SweepMarkers is for tests, which do not wait until a marker is old.
func (r *Router) SweepMarkers(ctx context.Context, before time.Time) error {
	return r.sweepMarkers(ctx, before)
}

package postgres

import (
	"context"
	"time"
)

// SweepMarkers is for tests, which do not wait until a marker is old.
func (r *Router) SweepMarkers(ctx context.Context, before time.Time) error {
	return r.sweepMarkers(ctx, before)
}

// Learn is for tests without replicas: it is learning a position of the primary.
func (s *Session) Learn(position int64) { s.learn(knownRow(position), true, s.blinded.Load()) }

type knownRow int64

func (r knownRow) Scan(dest ...any) error {
	*dest[0].(*int64) = int64(r)
	return nil
}

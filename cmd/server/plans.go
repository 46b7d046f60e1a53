package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/db"
	"quern/internal/proof"
	"quern/postgres"
)

// planInterval is the pause between two checks of the plans. A check takes about 1 ms for
// each statement with @plan.
const planInterval = 10 * time.Minute

// checkPlans lists the statements whose @plan does not hold, for example because an index
// was dropped by hand.
func (x *report) checkPlans(ctx context.Context, cfg postgres.Config) error {
	problems, err := brokenPlans(ctx, cfg)
	if err != nil {
		return err
	}
	for _, p := range problems {
		x.wrong("queries/%v: compare the schema with `quern drift`", p)
	}
	return nil
}

func brokenPlans(ctx context.Context, cfg postgres.Config) ([]proof.Problem, error) {
	config, _, err := cfg.ConnConfig()
	if err != nil {
		return nil, err
	}
	problems, err := proof.Plans(ctx, config, db.Statements)
	return problems, postgres.WrapError("check the plans", err)
}

// planWatch checks the plans regularly and exports the result as a metric.
type planWatch struct {
	cfg    postgres.Config
	log    *slog.Logger
	broken *prometheus.GaugeVec
}

func newPlanWatch(cfg postgres.Config, log *slog.Logger, registry prometheus.Registerer) *planWatch {
	w := &planWatch{cfg: cfg, log: log, broken: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "quern", Name: "plan_contract_broken", Help: "1 for each statement whose @plan does not hold in the database. Checked every 10 minutes.",
	}, []string{"statement"})}
	registry.MustRegister(w.broken)
	return w
}

// run checks immediately and after each interval, until ctx is cancelled.
func (w *planWatch) run(ctx context.Context) {
	tick := time.NewTicker(planInterval)
	defer tick.Stop()
	for {
		w.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *planWatch) check(ctx context.Context) {
	problems, err := brokenPlans(ctx, w.cfg)
	if err != nil {
		// The database is down, or the role lacks a privilege. Other checks report both.
		w.log.DebugContext(ctx, "the plans could not be checked", "error", err)
		return
	}
	w.broken.Reset()
	for _, p := range problems {
		w.broken.WithLabelValues(p.Statement.Name).Set(1)
		w.log.WarnContext(ctx, "a @plan does not hold in this database: compare the schema with `quern drift`", "query", p.Statement.Name, "problem", p.Text)
	}
}

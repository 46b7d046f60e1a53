package main

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/storetest"
)

// TestServe_PlanContract serves on a database without an index that a @plan names.
func TestServe_PlanContract(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{"Dropped": "DROP INDEX user_post_counts_order_idx", "Whole": "SELECT 1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := storetest.NewURL(t)
			conn, err := pgx.Connect(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Exec(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			p := serve(t, t.TempDir(), "DATABASE_URL="+address, "LOG_LEVEL=debug")
			const broken = `quern_plan_contract_broken{statement="ListUserStats"} 1`
			if name == "Whole" {
				if _, metrics := p.get(t, "/metrics"); strings.Contains(metrics, "quern_plan_contract_broken{") {
					t.Errorf("a plan is broken:\n%s", metrics)
				}
				return
			}
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				_, metrics := p.get(t, "/metrics")
				if strings.Contains(metrics, broken) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("no %s in the metrics; the log:\n%s", broken, p.stderr.String())
				}
			}
			if log := p.stderr.String(); !strings.Contains(log, "a @plan does not hold") || !strings.Contains(log, "query=ListUserStats") {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

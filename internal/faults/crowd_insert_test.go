//go:build linux

package faults

import (
	"sync/atomic"
	"testing"

	"quern/internal/db"
	"quern/postgres"
)

// placeAll makes a crowd place n orders.
func (r *receipts) placeAll(t testing.TB, q *db.Queries, callers, n int) {
	var next atomic.Int64
	crowd(callers, func(int) {
		for i := next.Add(1); i <= int64(n); i = next.Add(1) {
			r.place(t.Context(), q, int(i))
		}
	})
}

// TestCrowdInserts makes a crowd insert valid and invalid rows. Each caller
// must get the result of its own insert, regardless of the other rows in the
// same statement: its row, or the error that its values cause. Exactly the
// acknowledged rows must be stored, with their values.
func TestCrowdInserts(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	r := newReceipts(t, c.primary, "a", 1)
	r.placeAll(t, q, crowdSize, times(5000, 100_000))
	r.check(t, c.primary, never)
	r.findings.check(t)
	r.log(t)
}

// log logs the results of the orders.
func (r *receipts) log(t testing.TB) {
	t.Helper()
	own := map[string]int{}
	for _, got := range r.list {
		switch {
		case got.undone:
			own["rolled back"]++
		case got.refusal != nil:
			own[got.refusal.kind.Error()]++
		case got.rival && got.err != nil:
			own["the name was taken"]++
		default:
			own[got.statement]++
		}
	}
	t.Log(own)
}

// TestCrowdInsertsNaive shows that the check detects wrong results.
func TestCrowdInsertsNaive(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, _ := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	for _, variant := range []struct {
		name  string
		scan  scanner
		wrong string
	}{
		{"Forgiving", forgiving(), foreignRow},
		{"MixingUp", mixing(), foreignRow},
		{"TogetherOrNot", together(), wrongRefusal},
	} {
		t.Run(variant.name, func(t *testing.T) {
			r := newReceipts(t, c.primary, variant.name, 1)
			r.others = true
			r.placeAll(t, db.New(&meddled{router, variant.scan}), crowdSize, 500)
			r.check(t, c.primary, never)
			t.Log("the check found:", &r.findings)
			r.require(t, variant.wrong)
		})
	}
}

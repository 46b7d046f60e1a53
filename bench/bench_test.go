package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"quern/bench/internal/measure"
	"quern/bench/internal/peer"
)

// TestCheckCountsRows has peers that report more, or less, work than the
// database shows.
func TestCheckCountsRows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		w       workload
		s       measure.Sample
		counted int64
		ok      bool
	}{
		{"inserted", workload{counts: countUsers}, measure.Sample{Ops: 10, Inserted: 9}, 9, true},
		{"lost one", workload{counts: countUsers}, measure.Sample{Ops: 10, Inserted: 9}, 8, false},
		{"two each", workload{counts: countUsers, perOp: 2}, measure.Sample{Ops: 10}, 20, true},
		{"one each", workload{counts: countUsers, perOp: 2}, measure.Sample{Ops: 10}, 10, false},
		{"reads", workload{}, measure.Sample{Ops: 10}, 0, true},
	} {
		if err := test.w.check(test.s, test.counted); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestContenders expects the reference first, and forms next to their peer.
func TestContenders(t *testing.T) {
	t.Parallel()
	op := func(context.Context, *measure.Input, *measure.Fold) error { return nil }
	b := &bench{peers: []*peer.Peer{
		{Name: reference, Ops: map[string]measure.Op{"tx": op, "tx: another way": op, "point": op}},
		{Name: "quern", Ops: map[string]measure.Op{"tx": op}},
		{Name: "reader", Ops: map[string]measure.Op{"point": op}},
	}}
	var names []string
	for _, c := range b.contenders(workload{name: "tx"}) {
		names = append(names, c.name)
	}
	if len(names) != 3 || names[0] != reference || names[1] != reference+", another way" || names[2] != "quern" {
		t.Errorf("contenders are %q", names)
	}
}

// TestEnough measures other peers and slow operations in three rounds, and the reference and
// Quern in all.
func TestEnough(t *testing.T) {
	t.Parallel()
	rounds := func(n int, p50 time.Duration) []measure.Sample {
		return slices.Repeat([]measure.Sample{{P50: p50}}, n)
	}
	for _, test := range []struct {
		name    string
		main    bool
		samples []measure.Sample
		want    bool
	}{
		{"other peer", false, rounds(3, time.Millisecond), true},
		{"other peer, two rounds", false, rounds(2, time.Millisecond), false},
		{"reference", true, rounds(4, time.Millisecond), false},
		{"reference, slow", true, rounds(3, 2*time.Second), true},
	} {
		if got := enough(contender{main: test.main}, test.samples); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

package console

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quern/postgres"
)

// Each duration is in the bucket whose bounds contain it, and no bucket is wider than an
// eighth of its lowest value.
func TestBuckets(t *testing.T) {
	t.Parallel()
	for range 10_000 {
		d := time.Duration(1+rand.Int64N(1<<rand.N(36))) * time.Nanosecond
		i := bucketOf(d)
		if d < lowest(i) || d >= lowest(i+1) {
			t.Fatalf("%v is in bucket %d, from %v to %v", d, i, lowest(i), lowest(i+1))
		}
		if width := lowest(i+1) - lowest(i); width > max(time.Microsecond, lowest(i)/8) {
			t.Fatalf("bucket %d from %v is %v wide", i, lowest(i), width)
		}
	}
	if i := bucketOf(time.Hour); i != numBuckets-1 {
		t.Errorf("an hour is in bucket %d, want the last one", i)
	}
	if i := bucketOf(-1); i != 0 {
		t.Errorf("a negative duration is in bucket %d", i)
	}
}

// A quantile is within an eighth of the exact one.
func TestQuantile(t *testing.T) {
	t.Parallel()
	var h histogram
	var all []time.Duration
	for range 5000 {
		d := time.Duration(50+rand.ExpFloat64()*2000) * time.Microsecond
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	var c counts
	h.addTo(&c)
	for _, q := range []float64{0.5, 0.95, 0.99} {
		exact := milliseconds(all[int(q*float64(len(all)))])
		if got := *c.quantile(q); got < exact*7/8 || got > exact*9/8 {
			t.Errorf("the quantile %v is %v ms, want about %v ms", q, got, exact)
		}
	}
	var total uint64
	for _, b := range c.bars() {
		total += b.Calls
	}
	if total != 5000 {
		t.Errorf("the bars have %d calls, want 5000", total)
	}
	if (&counts{}).quantile(0.5) != nil {
		t.Error("no calls have a quantile")
	}
}

// A statement that has run before is counted without an allocation.
func TestObserver_Allocations(t *testing.T) {
	o := NewObserver()
	end := postgres.StatementEnd{Statement: &postgres.Statement{Name: "GetAccount"}, Duration: time.Millisecond, Rows: 1, Replica: "r:1"}
	if n := testing.AllocsPerRun(1000, func() { o.StatementEnded(t.Context(), end) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkObserver measures what a statement pays for being counted.
func BenchmarkObserver(b *testing.B) {
	o := NewObserver()
	end := postgres.StatementEnd{Statement: &postgres.Statement{Name: "GetAccount"}, Duration: time.Millisecond, Rows: 1}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o.StatementEnded(b.Context(), end)
		}
	})
}

// A sample has the rates since the last one, and the quantiles of the last 5 s.
func TestRing(t *testing.T) {
	t.Parallel()
	var r ring
	o := NewObserver()
	s := &postgres.Statement{Name: "GetAccount"}
	begin := time.Now()
	add := func(second int) Sample {
		var now totals
		o.read(&now)
		now.at = begin.Add(time.Duration(second) * time.Second)
		r.add(&now, &postgres.Snapshot{})
		return r.newest()
	}
	add(0)
	for range 10 {
		o.StatementEnded(t.Context(), postgres.StatementEnd{Statement: s, Duration: 2 * time.Millisecond})
	}
	o.StatementEnded(t.Context(), postgres.StatementEnd{Statement: s, Duration: time.Second, Err: postgres.ErrTimeout})
	o.Happened(postgres.CallsCoalesced{Statement: s.Name, Calls: 7})
	o.RequestEnded(503, time.Millisecond)
	got := add(1)
	if got.Statements != 11 || got.StatementErrors != 1 || got.Coalesced != 7 || got.Batches != 1 || got.Requests != 1 || got.RequestErrors != 1 {
		t.Errorf("the sample is %+v", got)
	}
	if p := got.StatementTimes; *p.P50 < 1.8 || *p.P50 > 2.3 || *p.P99 < 900 {
		t.Errorf("p50 is %v ms and p99 %v ms", *p.P50, *p.P99)
	}
	for second := range window {
		got = add(2 + second)
	}
	if got.Statements != 0 || got.StatementTimes.P50 != nil {
		t.Errorf("after the window, the sample is %+v", got)
	}
	for second := range keepSamples {
		add(10 + second)
	}
	if list := r.list(); len(list) != keepSamples || list[0].At >= list[1].At {
		t.Errorf("%d samples are kept", len(list))
	}
}

package postgres

import (
	"testing"
	"time"
)

// BenchmarkInFlight measures what a statement pays for being listed.
func BenchmarkInFlight(b *testing.B) {
	f := &inFlight{}
	s := &statement{Statement: Statement{Name: "GetAccount"}}
	q := request{class: DefaultClass, name: s.Name, start: time.Now()}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		bounds := &bounds{}
		for pb.Next() {
			u := f.begin(b.Context(), q, 1)
			u.runs(s, q.start, bounds)
			u.end()
		}
	})
}

// A read that an operator cancelled on a replica does not count as one whose replica went
// down, which would be repeated on another server.
func TestCancel_Replica(t *testing.T) {
	t.Parallel()
	for _, byOperator := range []bool{true, false} {
		until := time.Now().Add(time.Hour)
		b := &bounds{replica: &replica{}}
		b.bounded.Begin(t.Context(), time.Now(), until)
		if byOperator {
			b.cancelByOperator()
		} else {
			b.bounded.Cancel()
		}
		if b.endedByReplica(until) == byOperator {
			t.Errorf("by an operator: %v, by the replica: %v", byOperator, byOperator)
		}
	}
}

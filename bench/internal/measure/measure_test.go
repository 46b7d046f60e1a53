package measure

import (
	"context"
	"errors"
	"testing"
	"time"
)

func sample(rate int64) Sample {
	return Sample{Ops: rate, Elapsed: time.Second, ClientCPU: time.Duration(rate), ServerCPU: -1}
}

// TestRatioIsWithinRounds simulates a machine that slows down. The ratio of the median rates
// would be two, although the ratio is not two in any round.
func TestRatioIsWithinRounds(t *testing.T) {
	t.Parallel()
	c := NewCell("point", 1)
	for _, rates := range [][2]int64{{400, 200}, {200, 200}, {100, 100}, {100, 100}, {50, 200}} {
		c.Add("pgx", sample(rates[0]))
		c.Add("peer", sample(rates[1]))
	}
	s := c.Summarize("peer", "pgx")
	if s.Throughput != 200 || s.Ratio != 1 {
		t.Errorf("throughput %v and ratio %v, want 200 and 1", s.Throughput, s.Ratio)
	}
	if s.RatioCPU >= 0 || s.ServerCPU >= 0 {
		t.Errorf("the server's processor time is %v and its ratio %v, want none", s.ServerCPU, s.RatioCPU)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	load := Load{Workload: "w", Callers: 4, Duration: 10 * time.Millisecond, Lo: 1, Hi: 100}
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		op   Op
		want error
	}{
		{"Counts", func(context.Context, *Input, *Fold) error { time.Sleep(time.Millisecond); return nil }, nil},
		{"Fails", func(context.Context, *Input, *Fold) error { return broken }, broken},
		{"Refused", func(_ context.Context, in *Input, _ *Fold) error {
			time.Sleep(time.Millisecond)
			if in.Chance(50) {
				return ErrRefused
			}
			return nil
		}, ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := Run(t.Context(), test.op, load)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && (s.Ops < 4 || s.P50 < time.Millisecond || s.P99 < s.P50 || s.Elapsed < load.Duration) {
				t.Errorf("unlikely: %+v", s)
			}
		})
	}
}

// TestInputIsTheSame checks that all peers are asked for the same ids, which
// makes a comparison fair.
func TestInputIsTheSame(t *testing.T) {
	t.Parallel()
	load := Load{Callers: 1, Lo: 1, Hi: 1000, Seed: 3, Prefix: "p-"}
	a, b, other := newInput(0, load), newInput(0, load), newInput(1, load)
	differs := false
	for range 100 {
		x, y := a.ID(), b.ID()
		if x != y || x < 1 || x > 1000 {
			t.Fatalf("%d and %d", x, y)
		}
		differs = differs || x != other.ID()
	}
	if !differs {
		t.Error("two callers ask for the same ids")
	}
	if a.User().Username == other.User().Username {
		t.Error("two callers insert the same user")
	}
}

// TestFoldTellsLess has answers that each lack one detail.
func TestFoldTellsLess(t *testing.T) {
	t.Parallel()
	age := int32(30)
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	whole := func() *Fold { f := NewFold(); f.User(1, "a", "b", &age, []string{"x", "y"}, at); return f }
	want := whole().Sum()
	if whole().Sum() != want {
		t.Error("the same user has two sums")
	}
	for name, fold := range map[string]func(f *Fold){
		"an age":  func(f *Fold) { f.User(1, "a", "b", nil, []string{"x", "y"}, at) },
		"a tag":   func(f *Fold) { f.User(1, "a", "b", &age, []string{"x"}, at) },
		"a time":  func(f *Fold) { f.User(1, "a", "b", &age, []string{"x", "y"}, time.Time{}) },
		"a user":  func(*Fold) {},
		"a post":  func(f *Fold) { *f = *whole(); f.Post(1, "t") },
		"a count": func(f *Fold) { *f = *whole(); f.Count(1, 2) },
	} {
		f := NewFold()
		fold(f)
		if f.Sum() == want {
			t.Errorf("a difference in %s is not detected", name)
		}
	}
}

package httpload

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"quern/internal/store"
	"quern/internal/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// TestRun puts a small load on every server that can run here.
func TestRun(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	if err := d.Store.Seed(t.Context(), store.SeedOptions{Users: 500}); err != nil {
		t.Fatal(err)
	}
	// This makes a gap in the ids. The users after it are too few for a load.
	d.Exec(t, "DELETE FROM users WHERE id = 450")

	var skipped []string
	results, err := Run(t.Context(), Config{
		DatabaseURL: d.URL, Connections: []int{4}, Rounds: 2, Duration: 200 * time.Millisecond,
		Logf: func(format string, args ...any) {
			t.Logf(format, args...)
			if strings.Contains(format, "skipped") {
				skipped = append(skipped, fmt.Sprint(args[0]))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	rounds := map[string]int{}
	for _, r := range results {
		rounds[r.Server]++
		if r.Requests < 4 || r.Throughput <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.LoadCPU < 0 || r.Connections != 4 {
			t.Errorf("%+v: want at least a request on each connection, and its cost", r)
		}
		if runtime.GOOS == "linux" && (r.Idle.Private <= 0 || r.Idle.File <= 0 || r.Memory.Private <= 0 || r.Memory.File <= 0) {
			t.Errorf("%s has the memory %+v idle and %+v later", r.Server, r.Idle, r.Memory)
		}
	}
	for _, p := range peers(programs{}, "") {
		want := 2
		for _, name := range skipped {
			if name == p.name {
				want = 0
			}
		}
		if rounds[p.name] != want {
			t.Errorf("%s: %d results, want %d", p.name, rounds[p.name], want)
		}
	}
}

func TestMeaning(t *testing.T) {
	t.Parallel()
	parse := func(text string) map[string]any {
		m, err := meaning([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	const answer = `{"id":7,"age":null,"tags":["a"],"created_at":"2024-05-01T12:00:00.5Z"}`
	for other, same := range map[string]bool{
		`{"created_at":"2024-05-01T12:00:00.500000+00:00","tags":["a"],"age":null,"id":7}`: true,
		`{"created_at":"2024-05-01T12:00:00.500001+00:00","tags":["a"],"age":null,"id":7}`: false,
		`{"created_at":"2024-05-01T12:00:00.5Z","tags":["a"],"id":7}`:                      false,
		`{"created_at":"2024-05-01T12:00:00.5Z","tags":null,"age":null,"id":7}`:            false,
		`{"created_at":"2024-05-01T12:00:00.5Z","tags":["a"],"age":null,"id":"7"}`:         false,
	} {
		if got := reflect.DeepEqual(parse(answer), parse(other)); got != same {
			t.Errorf("%s\nis the same as\n%s: %t, want %t", other, answer, got, same)
		}
	}
}

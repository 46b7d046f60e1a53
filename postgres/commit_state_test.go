package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	states = stateUnknown + 1
	events = commitTimeUp + 1
)

// cannot lists the events that are impossible in a state. Each pair of a state and an event
// must be an edge of commitTable or listed here.
var cannot = map[commitState][]commitEvent{
	stateClear:     {markerPut, markerTaken, markerUnknown, runCommitted, runFailed, commitTimeUp},
	stateInDoubt:   {commitLost, commitLostTogether, commitLostElsewhere, markerUnknown, runCommitted, runFailed},
	stateInFlight:  {commitLost, commitLostTogether, commitLostElsewhere, markerUnknown, runCommitted, runFailed},
	stateContended: {commitLost, markerPut, markerTaken, markerUnknown, commitTimeUp},
	stateBarring:   {commitLost, commitLostTogether, commitLostElsewhere, runCommitted, runFailed, commitTimeUp},
	stateApplied:   allEvents(),
	stateUnread:    allEvents(),
	stateUnknown:   allEvents(),
}

func allEvents() (list []commitEvent) {
	for e := range events {
		list = append(list, e)
	}
	return list
}

// TestCommitTable covers every state and every event.
func TestCommitTable(t *testing.T) {
	t.Parallel()
	reached := map[commitState]bool{stateClear: true}
	for s := range states {
		for e := range events {
			edge, ok := commitTable[s][e]
			if ok == slices.Contains(cannot[s], e) {
				t.Errorf("%v, %v: it must be an edge or be impossible, and not both", s, e)
			}
			var outcomes []string
			m := &marker{state: s, id: uuidAt(holdEpoch), lost: errors.New("lost"), observer: &observer{
				logger: slog.New(slog.DiscardHandler), observers: []Observer{outcomesTo{&outcomes}},
			}}
			m.on(e)
			if !ok {
				edge = commitEdge{stateUnknown, commitGiveUp, "unknown"}
			}
			reached[edge.to] = reached[edge.to] || ok
			if m.state != edge.to || m.action != edge.action || !slices.Equal(outcomes, slices.DeleteFunc([]string{edge.outcome}, func(o string) bool { return o == "" })) {
				t.Errorf("%v, %v: it led to %v, %v with the outcomes %q, want %v", s, e, m.state, m.action, outcomes, edge)
			}
			// A call may return that nothing is stored only if nothing is in doubt.
			if (m.lost == nil) != (m.state == stateClear) || m.id.Valid == (m.action == commitRestart) {
				t.Errorf("%v, %v: in %v, lost is %v and the marker is kept: %v", s, e, m.state, m.lost, m.id.Valid)
			}
			if !ok && !errors.Is(m.lost, ErrCommitUnknown) {
				t.Errorf("%v, %v: lost is %v, want ErrCommitUnknown", s, e, m.lost)
			}
		}
	}
	for s := range states {
		if !reached[s] {
			t.Errorf("no edge leads to %v", s)
		}
	}
}

// outcomesTo is an Observer of the outcomes of lost COMMITs.
type outcomesTo struct{ list *[]string }

func (o outcomesTo) StatementEnded(context.Context, StatementEnd) {}

func (o outcomesTo) Happened(e Event) {
	if e, ok := e.(DoubtEnded); ok {
		*o.list = append(*o.list, e.Outcome)
	}
}

// TestCommitTable_Documented compares commitTable, its comment and docs/commits.md. All
// must have every edge, and the tests that the document names must exist.
func TestCommitTable_Documented(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for s, edges := range commitTable {
		for e, edge := range edges {
			want[fmt.Sprintf("%v | %v | %v | %v", s, e, edge.to, edge.action)] = true
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc := read("../docs/commits.md")
	documented, tests := map[string]bool{}, map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z ]+) \| ([a-z ]+) \| ([a-z ]+) \| ([a-z ]+) \| (.+) \|$`).FindAllStringSubmatch(doc, -1) {
		if row[1] != "state" {
			documented[strings.Join(row[1:5], " | ")] = true
			for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(row[5], -1) {
				tests[name[1]] = true
			}
		}
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("docs/commits.md (-table +document):\n%s", diff)
	}
	commented := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^//\t(.+)$`).FindAllStringSubmatch(read("commit_state.go"), -1) {
		if cells := regexp.MustCompile(` {2,}`).Split(row[1], -1); cells[0] != "state" {
			commented[strings.Join(cells, " | ")] = true
		}
	}
	if diff := cmp.Diff(want, commented); diff != "" {
		t.Errorf("the comment of commitTable (-table +comment):\n%s", diff)
	}
	for s := range states {
		if !strings.Contains(doc, "\n**"+s.String()+"**") {
			t.Errorf("docs/commits.md has no paragraph on the state %v", s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if !hasTest(t, name) {
			t.Errorf("docs/commits.md names %s, which does not exist", name)
		}
	}
}

func hasTest(t *testing.T, name string) bool {
	for _, dir := range []string{".", "../internal/faults"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "func "+name+"(t *testing.T)") {
				return true
			}
		}
	}
	return false
}

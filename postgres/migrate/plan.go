package migrate

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Step is one migration that would be run.
type Step struct {
	Version   int64
	File      string
	Direction string // "up" or "down"
	SQL       string // the Up or Down part of the file, with goose's annotations
}

// PlanUp returns what Up would run, and runs nothing. It fails as Up does if a pending
// migration is out of order.
func (m *Migrator) PlanUp(ctx context.Context) ([]Step, error) {
	status, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	var steps []Step
	for _, s := range status {
		if s.OutOfOrder && !m.outOfOrder {
			return nil, outOfOrderError(status)
		}
		if !s.Applied {
			steps = append(steps, Step{Version: s.Version, File: s.File, Direction: "up"})
		}
	}
	return m.withSQL(steps)
}

// PlanTo returns what To would run, and runs nothing.
func (m *Migrator) PlanTo(ctx context.Context, version int64) ([]Step, error) {
	status, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.checkVersion(version); err != nil {
		return nil, err
	}
	var up, down []Step
	for _, s := range status {
		switch {
		case s.Version > version && s.Applied && !s.Missing:
			down = append(down, Step{Version: s.Version, File: s.File, Direction: "down"})
		case s.Version <= version && !s.Applied:
			if s.OutOfOrder && !m.outOfOrder {
				return nil, outOfOrderError(status)
			}
			up = append(up, Step{Version: s.Version, File: s.File, Direction: "up"})
		}
	}
	if len(down) > 0 {
		slices.Reverse(down)
		return m.withSQL(down)
	}
	return m.withSQL(up)
}

// PlanDown returns what Down would run, and runs nothing.
func (m *Migrator) PlanDown(ctx context.Context) ([]Step, error) {
	status, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Backward(status) {
		if s.Applied && !s.Missing {
			return m.withSQL([]Step{{Version: s.Version, File: s.File, Direction: "down"}})
		}
	}
	return nil, errNothingToUndo
}

// withSQL reads the part of each file that its step would run.
func (m *Migrator) withSQL(steps []Step) ([]Step, error) {
	for i := range steps {
		text, err := fs.ReadFile(m.files, steps[i].File)
		if err != nil {
			return nil, fmt.Errorf("read the migrations: %w", err)
		}
		steps[i].SQL = section(string(text), steps[i].Direction)
	}
	return steps, nil
}

// section returns the lines of a migration for one direction. The annotation that it runs
// without a transaction comes first, if it has one.
func section(text, direction string) string {
	var b strings.Builder
	current := ""
	for line := range strings.Lines(text) {
		annotation, is := strings.CutPrefix(strings.ToLower(strings.TrimSpace(line)), "-- +goose ")
		switch annotation = strings.TrimSpace(annotation); {
		case is && (annotation == "up" || annotation == "down"):
			current = annotation
			continue
		case is && annotation == "no transaction":
			b.WriteString(line)
			continue
		}
		if current == direction {
			b.WriteString(line)
		}
	}
	return strings.TrimSpace(b.String()) + "\n"
}

package pgtest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"quern/postgres"
)

// statementsFile is the environment variable with the name of a file. Main appends to it
// the names of the statements that the Routers of Connect executed, one per line. `quern
// vet --ran` reads it.
const statementsFile = "QUERN_STATEMENTS"

// ran has the names of the executed statements.
var ran statementNames

// statementNames is an Observer that records the names of successful statements.
type statementNames struct{ names sync.Map }

// StatementEnded records a name. A statement that found no row counts as executed.
func (n *statementNames) StatementEnded(_ context.Context, e postgres.StatementEnd) {
	if e.Statement != nil && (e.Err == nil || postgres.ErrorClass(e.Err) == "not_found") {
		n.names.Store(e.Statement.Name, true)
	}
}

// RowScanned keeps the nullable columns that were NULL, as "statement column".
func (n *statementNames) RowScanned(s *postgres.Statement, values [][]byte) {
	for i, value := range values {
		if value == nil && i < len(s.Columns) && !s.Columns[i].NotNull {
			n.names.Store(s.Name+" "+s.Columns[i].Name, true)
		}
	}
}

// Happened ignores events.
func (*statementNames) Happened(postgres.Event) {}

// observeStatements adds the Observer if statementsFile is set.
func observeStatements(cfg *postgres.Config) {
	if os.Getenv(statementsFile) != "" {
		cfg.Observers = append(slices.Clip(cfg.Observers), &ran)
	}
}

// write appends the names to a file. If name is empty, it does nothing.
func (n *statementNames) write(name string) error {
	if name == "" {
		return nil
	}
	var names []string
	n.names.Range(func(name, _ any) bool {
		names = append(names, name.(string))
		return true
	})
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write the names of the statements: %w", err)
	}
	// This is a single write, because the tests of several packages append at the same time.
	_, err = file.WriteString(strings.Join(names, "\n") + "\n")
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

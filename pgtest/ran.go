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

// statementsFile is the variable with the name of a file to which Main appends the names
// of the statements that the Routers of Connect executed, one a line. `quern vet --ran`
// reads it.
const statementsFile = "QUERN_STATEMENTS"

// ran has the names of the statements that were executed.
var ran statementNames

// statementNames is an Observer that keeps the names of statements that succeeded.
type statementNames struct{ names sync.Map }

// StatementEnded keeps a name. A statement without a row has run, too.
func (n *statementNames) StatementEnded(_ context.Context, e postgres.StatementEnd) {
	if e.Statement != nil && (e.Err == nil || postgres.ErrorClass(e.Err) == "not_found") {
		n.names.Store(e.Statement.Name, true)
	}
}

// Happened ignores events.
func (*statementNames) Happened(postgres.Event) {}

// observeStatements adds the Observer if the names are wanted.
func observeStatements(cfg *postgres.Config) {
	if os.Getenv(statementsFile) != "" {
		cfg.Observers = append(slices.Clip(cfg.Observers), &ran)
	}
}

// write appends the names to a file, unless the name is empty.
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
	// One write, because the tests of several packages append at the same time.
	_, err = file.WriteString(strings.Join(names, "\n") + "\n")
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

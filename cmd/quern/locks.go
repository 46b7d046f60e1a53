package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/rehearse"
	"quern/cmd/quern/internal/scratch"
)

type locksCommand struct {
	Binaries []string `type:"existingdir" placeholder:"DIR" help:"The folder with the programs of a PostgreSQL, for each version to measure. Defaults to the newest that is installed."`
}

// Help is what `quern help locks` adds.
func (locksCommand) Help() string {
	return `Prints a table in Markdown, such as docs/locks.md, with what each of the common statements
locks, rewrites and reads. It runs them on each PostgreSQL and looks.`
}

// Run measures, and prints the table.
func (c locksCommand) Run(ctx context.Context, a *app) error {
	if len(c.Binaries) == 0 {
		c.Binaries = []string{""}
	}
	var versions []string
	rows := make([][]string, len(rehearse.Commons))
	for _, dir := range c.Binaries {
		version, err := measureLocks(ctx, a, dir, rows)
		if err != nil {
			return err
		}
		versions = append(versions, version)
	}
	fmt.Fprint(a.stdout, "# What changes of a schema lock\n\nMeasured by `quern locks` on PostgreSQL "+strings.Join(versions, " and ")+`, not read in a manual. Each statement ran
on a table t with 1,000 rows, and `+"`pg_locks`"+` and the table's file were read before its COMMIT. Locks on tables that it creates itself are
left out. The work is done while the lock is held:

- **rewrites**: the table and its indexes are written anew. **builds an index** and **reads all rows**: the time grows with the table.
- ACCESS EXCLUSIVE keeps everyone from the table. SHARE and SHARE ROW EXCLUSIVE let others read and keep them from writing. SHARE
  UPDATE EXCLUSIVE and weaker ones let others read and write.
- Even without work a statement waits for its lock, and everyone else waits after it: set a `+"`lock_timeout`"+`.

`)
	fmt.Fprintf(a.stdout, "| statement | %s | safer |\n|---|%s---|\n", strings.Join(heads(versions), " | "), strings.Repeat("---|---|", len(versions)))
	for i, statement := range rehearse.Commons {
		sql, note, _ := strings.Cut(statement.SQL, " -- ")
		if note != "" {
			note = ", " + note
		}
		fmt.Fprintf(a.stdout, "| `%s`%s | %s | %s |\n", sql, note, strings.Join(rows[i], " | "), statement.Safe)
	}
	return nil
}

func heads(versions []string) (list []string) {
	for _, v := range versions {
		list = append(list, v+": lock", "work")
	}
	return list
}

// measureLocks adds the columns of one server to the rows.
func measureLocks(ctx context.Context, a *app, binaries string, rows [][]string) (version string, err error) {
	server, err := project{Binaries: binaries}.start(ctx, a)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if version, err = serverVersion(ctx, server); err != nil {
		return "", err
	}
	major, err := strconv.Atoi(strings.Split(version, ".")[0])
	if err != nil {
		return "", fmt.Errorf("server_version is %s: %w", version, err)
	}
	for i, statement := range rehearse.Commons {
		if major < statement.Since {
			rows[i] = append(slices.Clip(rows[i]), fmt.Sprintf("from %d on", statement.Since), "")
			continue
		}
		m, err := statement.Measure(ctx, server)
		if err != nil {
			return "", fmt.Errorf("PostgreSQL %s: %w", version, err)
		}
		locks, work := m.Row()
		rows[i] = append(slices.Clip(rows[i]), locks, work)
	}
	return version, nil
}

func serverVersion(ctx context.Context, server *scratch.Server) (version string, err error) {
	url, err := server.Create(ctx)
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version)
	return version, err
}

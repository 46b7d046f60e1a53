package console

import (
	"context"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// Migration is a migration of the program or of the database.
type Migration struct {
	Version   int64      `json:"version"`
	File      string     `json:"file"`
	State     string     `json:"state"` // applied, pending, missing (not in this program) or out_of_order (pending below an applied one)
	AppliedAt *time.Time `json:"applied_at"`
	Seconds   *float64   `json:"seconds"` // null if it was not recorded
	By        string     `json:"by"`      // the application_name of the session
	Role      string     `json:"role"`
	Edited    bool       `json:"edited"` // its file has another text than when it was applied
	Note      string     `json:"note"`   // the comment at its top, which says what it locks
	SQL       string     `json:"sql"`    // its Up part
}

// Migrations is the history of the schema, the newest first.
type Migrations struct {
	Migrations []Migration `json:"migrations"`
	Pending    int         `json:"pending"`
	Drift      []string    `json:"drift"` // what the history shows; `quern drift` compares the schema itself
	Command    string      `json:"drift_command"`
}

func (c *Console) getMigrations(w http.ResponseWriter, r *http.Request, _ *postgres.Router) {
	v := Migrations{Migrations: []Migration{}, Drift: []string{}, Command: "quern drift"}
	if c.Migrator == nil {
		writeJSON(w, v)
		return
	}
	status, err := c.Migrator.Status(r.Context())
	if err != nil {
		problemOf(err).write(w)
		return
	}
	runs, err := c.Migrator.History(r.Context())
	if err != nil {
		problemOf(err).write(w)
		return
	}
	for i := len(status) - 1; i >= 0; i-- {
		s := status[i]
		m := Migration{Version: s.Version, File: s.File, State: "applied"}
		m.Note, m.SQL = c.migrationText(s.File)
		switch {
		case s.Missing:
			m.State = "missing"
			v.Drift = append(v.Drift, "a migration is applied that this program does not have: "+"version "+strconv.FormatInt(s.Version, 10))
		case s.OutOfOrder:
			m.State = "out_of_order"
			v.Drift = append(v.Drift, s.File+" is pending below an applied one")
		case !s.Applied:
			m.State = "pending"
		}
		if !s.Applied {
			v.Pending++
		} else if !s.AppliedAt.IsZero() {
			m.AppliedAt = new(s.AppliedAt)
		}
		for _, run := range runs {
			if run.Version != s.Version || run.Direction != "up" {
				continue
			}
			m.AppliedAt, m.By, m.Role, m.Edited = new(run.FinishedAt), run.Application, run.Role, run.Edited
			if m.Seconds = nil; run.Duration >= 0 {
				m.Seconds = new(run.Duration.Seconds())
			}
		}
		if m.Edited {
			v.Drift = append(v.Drift, s.File+" was edited after it had been applied")
		}
		v.Migrations = append(v.Migrations, m)
	}
	writeJSON(w, v)
}

// migrationText returns the comment at the top of a migration, and its Up part.
func (c *Console) migrationText(file string) (note, sql string) {
	if c.FS == nil || file == "" {
		return "", ""
	}
	text, err := fs.ReadFile(c.FS, file)
	if err != nil {
		return "", "" // it is not in this program
	}
	head, rest, _ := strings.Cut(string(text), "-- +goose Up\n")
	sql, _, _ = strings.Cut(rest, "-- +goose Down\n")
	var lines []string
	for line := range strings.Lines(head) {
		if !strings.HasPrefix(line, "-- +goose") {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "--")))
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n")), strings.TrimSpace(sql)
}

// Table is a table with its size. Rows is the planner's estimate.
type Table struct {
	Schema          string     `json:"schema"`
	Name            string     `json:"name"`
	Rows            int64      `json:"rows"`
	Bytes           int64      `json:"bytes"`
	TableBytes      int64      `json:"table_bytes"`
	IndexBytes      int64      `json:"index_bytes"`
	SequentialScans int64      `json:"sequential_scans"`
	IndexScans      int64      `json:"index_scans"`
	DeadRows        int64      `json:"dead_rows"`
	VacuumedAt      *time.Time `json:"vacuumed_at"`
	AnalyzedAt      *time.Time `json:"analyzed_at"`
}

// Index is an index with its use.
type Index struct {
	Schema     string `json:"schema"`
	Table      string `json:"table"`
	Name       string `json:"name"`
	Bytes      int64  `json:"bytes"`
	Scans      int64  `json:"scans"`
	Unique     bool   `json:"unique"`
	Primary    bool   `json:"primary"`
	Valid      bool   `json:"valid"`
	Constrains bool   `json:"constrains"` // a constraint needs it
	Definition string `json:"definition"`

	// Unused is set if no statement has scanned it since counting began, and it is needed for
	// no constraint or uniqueness. The scans of a replica are counted there.
	Unused bool `json:"unused" db:"-"`
}

// Tables is the size and the use of tables and indexes.
type Tables struct {
	ServerVersion string     `json:"server_version"`
	DatabaseBytes int64      `json:"database_bytes"`
	CountedSince  *time.Time `json:"counted_since"` // null if since the statistics were created
	Counts        bool       `json:"counts"`        // false with track_counts = off
	Tables        []Table    `json:"tables"`
	Indexes       []Index    `json:"indexes"`
}

func (c *Console) getTables(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	var v Tables
	err := c.catalogs(r.Context(), router, func(tx pgx.Tx) error { return v.read(r.Context(), tx) })
	if err != nil {
		problemOf(err).write(w)
		return
	}
	writeJSON(w, v)
}

func (v *Tables) read(ctx context.Context, tx pgx.Tx) error {
	err := tx.QueryRow(ctx, counted).Scan(&v.CountedSince, &v.Counts, &v.DatabaseBytes, &v.ServerVersion)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, tables)
	if err == nil {
		v.Tables, err = pgx.CollectRows(rows, pgx.RowToStructByName[Table])
	}
	if err != nil {
		return err
	}
	if rows, err = tx.Query(ctx, indexes); err == nil {
		v.Indexes, err = pgx.CollectRows(rows, pgx.RowToStructByName[Index])
	}
	for i, x := range v.Indexes {
		v.Indexes[i].Unused = v.Counts && x.Valid && x.Scans == 0 && !x.Unique && !x.Primary && !x.Constrains
	}
	v.Tables, v.Indexes = orEmpty(v.Tables), orEmpty(v.Indexes)
	return err
}

// catalogs calls f with the console's own connection, whose statements end after 2 s.
func (c *Console) catalogs(ctx context.Context, router *postgres.Router, f func(pgx.Tx) error) error {
	return c.link.do(ctx, router, func(conn *pgx.Conn) error {
		// The settings end with the transaction, because behind a pooler the session is shared.
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, catalogLimits, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		return tx.Rollback(ctx)
	})
}

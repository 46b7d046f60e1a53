package peer

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/bench/internal/measure"
	"quern/internal/db"
	"quern/internal/store"
)

// Load has the users, in no particular order, that the bulk load stores in an
// empty table. They are in memory and in a file.
type Load struct {
	Rows []db.CopyUsersParams
	File string // CSV with all columns except the id
}

var loadColumns = []string{"username", "email", "age", "tags", "created_at", "updated_at", "version"}

// NewLoad generates n users and writes the file into a new directory below dir.
func NewLoad(dir string, n int) (*Load, error) {
	l := &Load{Rows: make([]db.CopyUsersParams, n), File: filepath.Join(dir, "users.csv")}
	r := rand.New(rand.NewPCG(3, 4))
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, number := range r.Perm(n) {
		age := int32(18 + r.IntN(60))
		name := "loaded-" + strconv.FormatInt(int64(number), 36)
		l.Rows[i] = db.CopyUsersParams{
			ID: int64(i + 1), Username: name, Email: name + "@example.com", Age: &age,
			Tags: []string{"bench", "load"}, CreatedAt: at, UpdatedAt: at, Version: 1,
		}
	}
	file, err := os.Create(l.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := writeCSV(csv.NewWriter(file), l.Rows); err != nil {
		return nil, err
	}
	return l, file.Close()
}

func writeCSV(w *csv.Writer, rows []db.CopyUsersParams) error {
	_ = w.Write(loadColumns) // the error is returned by Error below
	for _, u := range rows {
		tags, err := json.Marshal(u.Tags)
		if err != nil {
			return err
		}
		_ = w.Write([]string{
			u.Username, u.Email, strconv.Itoa(int(*u.Age)), string(tags),
			u.CreatedAt.Format(time.RFC3339Nano), u.UpdatedAt.Format(time.RFC3339Nano), "1",
		})
	}
	w.Flush()
	return w.Error()
}

// ImportRows is the number of rows of the import into a table with users.
const ImportRows = 10_000

// someRows returns users that do not exist yet.
func someRows(in *measure.Input) []db.CopyUsersParams {
	rows := make([]db.CopyUsersParams, ImportRows)
	now := time.Now()
	for i := range rows {
		u := in.User()
		rows[i] = db.CopyUsersParams{
			Username: u.Username, Email: u.Email, Age: &u.Age, Tags: u.Tags, CreatedAt: now, UpdatedAt: now, Version: 1,
		}
	}
	return rows
}

func (p plain) addLoads(ops map[string]measure.Op, c Config) {
	ops["import"] = func(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
		return p.copyUsers(ctx, someRows(in), loadColumns)
	}
	if c.Load == nil {
		return
	}
	columns := append([]string{"id"}, loadColumns...)
	ops["bulk-load"] = func(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
		return p.copyUsers(ctx, c.Load.Rows, columns)
	}
	if psql, err := exec.LookPath("psql"); err == nil {
		ops[`bulk-load: psql \copy`] = func(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
			return psqlCopy(ctx, psql, c)
		}
	}
}

// copyUsers copies the last columns of each user, as many as there are names.
func (p plain) copyUsers(ctx context.Context, rows []db.CopyUsersParams, columns []string) error {
	left := 8 - len(columns)
	_, err := p.pool.CopyFrom(ctx, pgx.Identifier{"users"}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		u := &rows[i]
		return []any{u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt, u.UpdatedAt, u.Version}[left:], nil
	}))
	return err
}

func psqlCopy(ctx context.Context, psql string, c Config) error {
	command := fmt.Sprintf(`\copy users (%s) FROM '%s' WITH (FORMAT csv, HEADER)`, strings.Join(loadColumns, ", "), c.Load.File)
	out, err := exec.CommandContext(ctx, psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", c.URL, "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf(`psql \copy: %w: %s`, err, out)
	}
	return nil
}

func (p project) addLoads(ops map[string]measure.Op, c Config) {
	ops["import"] = func(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
		var text bytes.Buffer
		if err := writeCSV(csv.NewWriter(&text), someRows(in)); err != nil {
			return err
		}
		return p.importUsers(ctx, &text, ImportRows)
	}
	if c.Load == nil {
		return
	}
	ops["bulk-load"] = func(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
		_, err := p.queries.CopyUsers(ctx, c.Load.Rows)
		return err
	}
	ops["bulk-load: sorted by username first"] = func(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
		rows := slices.Clone(c.Load.Rows)
		slices.SortFunc(rows, func(a, b db.CopyUsersParams) int { return strings.Compare(a.Username, b.Username) })
		for i := range rows {
			rows[i].ID = int64(i + 1) // assigned in this order
		}
		_, err := p.queries.CopyUsers(ctx, rows)
		return err
	}
	ops["bulk-load: import, checked and merged"] = func(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
		file, err := os.Open(c.Load.File)
		if err != nil {
			return err
		}
		defer file.Close()
		return p.importUsers(ctx, file, len(c.Load.Rows))
	}
}

func (p project) importUsers(ctx context.Context, r io.Reader, n int) error {
	res, err := p.store.ImportUsers(ctx, r, store.ImportOptions{OnConflict: store.ConflictUpdate})
	if err == nil && res.Inserted != int64(n) {
		err = fmt.Errorf("of %d rows, %d were inserted: %+v", n, res.Inserted, res)
	}
	return err
}

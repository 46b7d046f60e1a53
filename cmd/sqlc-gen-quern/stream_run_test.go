package main

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/cmd/sqlc-gen-quern/testdata/full/db"
)

// fakeDB answers every query with the same rows and remembers the last query.
// It replaces only the layer below the generated code, because a server could
// not be made to fail at a chosen row.
type fakeDB struct {
	db.DBTX
	rows *fakeRows
	err  error // returned by Query itself

	sql  string
	args []any
}

func (f *fakeDB) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	f.sql, f.args = sql, args
	if f.err != nil {
		return nil, f.err
	}
	return f.rows, nil
}

type fakeRows struct {
	pgx.Rows
	values  [][]any
	scanErr error // returned for the last row
	err     error // returned after the last row

	read   int
	closed bool
}

func (r *fakeRows) Next() bool {
	if r.closed || r.read == len(r.values) {
		r.closed = true
		return false
	}
	r.read++
	return true
}

func (r *fakeRows) Scan(dest ...any) error {
	if r.scanErr != nil && r.read == len(r.values) {
		return r.scanErr
	}
	row := r.values[r.read-1]
	if len(dest) != len(row) {
		return errors.New("scan: wrong number of columns")
	}
	for i, d := range dest {
		reflect.ValueOf(d).Elem().Set(reflect.ValueOf(row[i]))
	}
	return nil
}

func (r *fakeRows) Err() error                    { return r.err }
func (r *fakeRows) Close()                        { r.closed = true }
func (r *fakeRows) CommandTag() pgconn.CommandTag { return pgconn.CommandTag{} }

var t0 = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// TestStreamIsQuery compares each form of stream with sqlc's own method. Both must send the same
// statement with the same arguments and return the same rows.
func TestStreamIsQuery(t *testing.T) {
	t.Parallel()
	age := int32(30)
	ctx := t.Context()
	t.Run("Model", func(t *testing.T) {
		t.Parallel()
		arg := db.ListUsersAfterParams{After: 7, MinAge: &age, RowLimit: 2}
		same(t, [][]any{
			{int64(1), "ada", &age, []string{"a"}, t0},
			{int64(2), "bob", (*int32)(nil), []string{}, t0},
		}, func(q *db.Queries) ([]*db.User, error) {
			return q.ListUsersAfter(ctx, arg)
		}, func(q *db.Queries) iter.Seq2[db.User, error] {
			return q.ListUsersAfterStream(ctx, arg)
		}, func(u *db.User) db.User { return *u })
	})
	t.Run("RowStruct", func(t *testing.T) {
		t.Parallel()
		same(t, [][]any{{int64(1), int64(2), "title", "note", int64(3)}},
			func(q *db.Queries) ([]*db.ListPostsWithUsersRow, error) {
				return q.ListPostsWithUsers(ctx)
			}, func(q *db.Queries) iter.Seq2[db.ListPostsWithUsersRow, error] {
				return q.ListPostsWithUsersStream(ctx)
			}, func(r *db.ListPostsWithUsersRow) db.ListPostsWithUsersRow { return *r })
	})
	t.Run("Bare", func(t *testing.T) {
		t.Parallel()
		same(t, [][]any{{&age}, {(*int32)(nil)}},
			func(q *db.Queries) ([]*int32, error) {
				return q.ListAges(ctx, []int64{1, 2})
			}, func(q *db.Queries) iter.Seq2[*int32, error] {
				return q.ListAgesStream(ctx, []int64{1, 2})
			}, func(p *int32) *int32 { return p })
	})
}

func same[R, S any](t *testing.T, values [][]any, list func(*db.Queries) ([]R, error), stream func(*db.Queries) iter.Seq2[S, error], value func(R) S) {
	t.Helper()
	one := &fakeDB{rows: &fakeRows{values: values}}
	listed, err := list(db.New(one))
	if err != nil {
		t.Fatal(err)
	}
	var want []S
	for _, r := range listed {
		want = append(want, value(r))
	}
	other := &fakeDB{rows: &fakeRows{values: values}}
	got, errs := collect(stream(db.New(other)))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-list +stream):\n%s", diff)
	}
	if diff := cmp.Diff(append([]any{one.sql}, one.args...), append([]any{other.sql}, other.args...)); diff != "" {
		t.Errorf("sent (-list +stream):\n%s", diff)
	}
	if !other.rows.closed {
		t.Error("the rows are left open")
	}
}

// collect returns the rows that came without an error, and the errors.
func collect[S any](stream iter.Seq2[S, error]) (rows []S, errs []error) {
	for row, err := range stream {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, row)
	}
	return rows, errs
}

func TestStreamBreak(t *testing.T) {
	t.Parallel()
	rows := &fakeRows{values: [][]any{{"ada"}, {"bob"}, {"cyd"}}}
	for range db.New(&fakeDB{rows: rows}).ListUsernamesStream(t.Context()) {
		break
	}
	if rows.read != 1 || !rows.closed {
		t.Errorf("after a break: %d rows read, closed %v", rows.read, rows.closed)
	}
}

// TestStreamError continues after the error, as a careless loop would. It must
// get exactly one error, after the rows that preceded it.
func TestStreamError(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	values := [][]any{{"ada"}, {"bob"}}
	for name, tt := range map[string]struct {
		db   *fakeDB
		want []string
	}{
		"Query": {&fakeDB{err: boom}, nil},
		"Scan":  {&fakeDB{rows: &fakeRows{values: values, scanErr: boom}}, []string{"ada"}},
		"Rows":  {&fakeDB{rows: &fakeRows{values: values, err: boom}}, []string{"ada", "bob"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, errs := collect(db.New(tt.db).ListUsernamesStream(t.Context()))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if len(errs) != 1 || !errors.Is(errs[0], boom) {
				t.Errorf("errors %v, want one boom", errs)
			}
			if tt.db.rows != nil && !tt.db.rows.closed {
				t.Error("the rows are left open")
			}
		})
	}
}

// TestAgreement omits a type of sqlc.yaml. The stream would send and scan
// another type than sqlc does, so the code must not compile.
func TestAgreement(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/full/request.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	req, err := readRequest(f)
	if err != nil {
		t.Fatal(err)
	}
	if req.golang, err = readConfig("testdata/full", req); err != nil {
		t.Fatal(err)
	}
	req.golang.overrides = nil
	files, err := generateMade(req)
	if err != nil {
		t.Fatal(err)
	}

	golden, err := filepath.Abs("testdata/full/db/stream.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replaced, overlay := filepath.Join(dir, "stream.go"), filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{golden: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(replaced, files[1].Contents, 0o644), os.WriteFile(overlay, b, 0o644)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "build", "-overlay", overlay, "./testdata/full/db").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "(*Queries).ListTags") {
		t.Errorf("go build: %v:\n%s", err, out)
	}
}

package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern"
	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/pgtest"
	"quern/postgres/migrate"
)

// before returns a database with the schema before the given migration, and a Migrator that
// applies the remaining ones.
func before(t *testing.T, version int64) (*pgx.Conn, *migrate.Migrator) {
	t.Helper()
	url := pgtest.EmptyURL(t)
	m, err := migrate.New(migrate.Config{URL: url, FS: quern.Migrations(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.To(t.Context(), version-1); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(conn.Close(t.Context()), m.Close()); err != nil {
			t.Error(err)
		}
	})
	return conn, m
}

// wireTimes are the columns of times that the API's JSON and CSV contain.
var wireTimes = []string{
	"users.created_at", "users.updated_at", "posts.created_at", "posts.updated_at",
	"tasks.created_at", "tasks.updated_at", "tasks.run_at", "tasks.lease_until",
}

// TestMigration_Times checks that the migration names the times that JSON and CSV cannot
// represent, and that no table accepts such a time afterwards.
func TestMigration_Times(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	conn, m := before(t, 12)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO users (username, email) SELECT 'u' || n, 'x' FROM generate_series(1, 20) AS n;
		INSERT INTO posts (user_id, title, content) SELECT 1, 't', '' FROM generate_series(1, 20);
		INSERT INTO tasks (name, status, worker, lease_until) SELECT 't', 'running', 'w', now() FROM generate_series(1, 20)`)
	for _, column := range wireTimes {
		table, name, _ := strings.Cut(column, ".")
		for _, bad := range []string{"infinity", "-infinity", "0044-03-15 BC", "0002-12-31 23:59:59.999999+00 BC", "10000-01-01 00:00:00+00"} {
			exec(fmt.Sprintf("UPDATE %s SET %s = '%s' WHERE id = 7", table, name, bad))
			_, err := m.Up(ctx)
			if err == nil || !strings.Contains(err.Error(), column+" of 1 row (id 7): set them to other times") {
				t.Errorf("%s %s: %v", column, bad, err)
			}
		}
		exec(fmt.Sprintf("UPDATE %s SET %s = now() WHERE id = 7", table, name))
	}
	exec("UPDATE users SET created_at = 'infinity' WHERE id > 3; UPDATE posts SET updated_at = '-infinity' WHERE id IN (2, 4)")
	_, err := m.Up(ctx)
	const want = "users.created_at of 17 rows (id 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, …); posts.updated_at of 2 rows (id 2, 4): set"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	// This is the state that an attempt leaves if it is interrupted between its ALTERs.
	exec(`UPDATE users SET created_at = '0001-01-01 00:00:00+00 BC'; UPDATE posts SET updated_at = '9999-12-31 23:59:59.999999+00';
		ALTER TABLE users ADD CONSTRAINT users_created_at_range CHECK (true) NOT VALID`)
	if _, err := m.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.To(ctx, 11); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Up(ctx); err != nil {
		t.Fatal(err)
	}
	for _, column := range wireTimes {
		table, name, _ := strings.Cut(column, ".")
		for _, bad := range []string{"infinity", "-infinity", "0044-03-15 BC", "0002-12-31 23:59:59.999999+00 BC", "10000-01-01 00:00:00+00"} {
			if _, err := conn.Exec(ctx, fmt.Sprintf("UPDATE %s SET %s = '%s' WHERE id = 7", table, name, bad)); err == nil || !strings.Contains(err.Error(), table+"_"+name+"_range") {
				t.Errorf("%s = %s: %v", column, bad, err)
			}
		}
	}
}

// TestMigration_EveryTime checks that no table of the API gets a column of times without
// bounds.
func TestMigration_EveryTime(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	rows, err := d.Router.Pool().Query(t.Context(), `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name IN ('users', 'posts', 'tasks') AND data_type LIKE 'timestamp%'`)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(columns) < len(wireTimes) {
		t.Fatal(columns, err)
	}
	for _, column := range columns {
		table, name, _ := strings.Cut(column, ".")
		n := d.Count(t, `SELECT count(*) FROM pg_constraint WHERE conrelid = $1::regclass AND conname = $1 || '_' || $2 || '_range' AND convalidated`, table, name)
		if n != 1 {
			t.Errorf("%s has no constraint %s_%s_range that is valid", column, table, name)
		}
	}
}

// TestMigration_Sequences checks that a sequence which an import has moved to the greatest id
// is moved back to where ids are safe.
func TestMigration_Sequences(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		name, sql string
		want      int64 // the next id, or 0 if the migration fails
	}{
		{"Untouched", "SELECT nextval('users_id_seq')", 2},
		{"Greatest", "INSERT INTO users (id, username, email) OVERRIDING SYSTEM VALUE VALUES (41, 'a', 'x'), (9007199254740991, 'b', 'x'); SELECT setval('users_id_seq', 9007199254740991)", 42},
		{"Beyond", "INSERT INTO users (id, username, email) OVERRIDING SYSTEM VALUE VALUES (9007199254740993, 'b', 'x'); SELECT setval('users_id_seq', 9007199254740993)", 2},
		{"Crowded", "INSERT INTO users (id, username, email) OVERRIDING SYSTEM VALUE VALUES (9007194959773695, 'b', 'x'), (9007194959773696, 'a', 'x'); SELECT setval('users_id_seq', 9007194959773696)", 9007194959773697},
		{"CrowdedBeyond", "INSERT INTO users (id, username, email) OVERRIDING SYSTEM VALUE VALUES (9007194959773695, 'b', 'x'), (9007194959773696, 'a', 'x'); SELECT setval('users_id_seq', 9007199254740993)", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, m := before(t, 12)
			if _, err := conn.Exec(ctx, c.sql); err != nil {
				t.Fatal(err)
			}
			_, err := m.To(ctx, 12)
			if c.want == 0 {
				if err == nil || !strings.Contains(err.Error(), "the next id of users is 9007199254740994, and 9007199254740991 is the greatest") {
					t.Errorf("err = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got int64
			if err := conn.QueryRow(ctx, "INSERT INTO users (username, email) VALUES ('next', 'x') RETURNING id").Scan(&got); err != nil || got != c.want {
				t.Errorf("the next id is %d, %v, want %d", got, err, c.want)
			}
		})
	}
}

// TestImport_GreatestID checks that ids drawn after an import are free and exact in JavaScript,
// and that exported rows can be imported, for any imported ids.
func TestImport_GreatestID(t *testing.T) {
	t.Parallel()
	const moving = store.MaxID - 1<<32
	for name, ids := range map[string][]int64{
		"Greatest": {store.MaxID}, "Several": {5, store.MaxID - 1, 4096, store.MaxID},
		"LastThatMoves": {moving}, "Bound": {moving, moving + 1}, "Above": {moving + 1}, "AboveFirst": {moving + 3, moving},
		"Crowded": {moving - 1<<31 + 1, moving + 7}, "Half": {1 << 52, 1<<52 + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := storetest.New(t), storetest.New(t)
			var copied, merged []int64 // the ids of users, and of posts
			for k, id := range ids {
				// Each id is imported separately, and then all of them together.
				imported(t, from, "users", fmt.Sprintf("id,username,email\n%d,u%d,x\n", id, k), store.ImportOptions{})
				imported(t, from, "posts", fmt.Sprintf("id,username,title,content\n%d,u%d,t,x\n", id, k), store.ImportOptions{})
			}
			for range 10 {
				u := from.CreateUser(t)
				copied = append(copied, u.ID)
				merged = append(merged, from.CreatePost(t, u.ID).ID)
			}
			for _, drawn := range append(copied, merged...) {
				if drawn > store.MaxID {
					t.Errorf("the id %d was drawn", drawn)
				}
			}
			for _, format := range []store.Format{store.FormatCSV, store.FormatNDJSON} {
				for _, what := range []string{"users", "posts"} {
					var b bytes.Buffer
					var err error
					if what == "users" {
						_, err = from.Store.ExportUsers(t.Context(), &b, store.UserFilter{}, store.ExportOptions{Format: format})
					} else {
						_, err = from.Store.ExportPosts(t.Context(), &b, store.PostFilter{}, store.ExportOptions{Format: format})
					}
					if err != nil {
						t.Fatal(err)
					}
					res, rejects := imported(t, to, what, b.String(), store.ImportOptions{OnConflict: store.ConflictUpdate})
					if want := int64(10 + len(ids)); res.Inserted+res.Unchanged != want || len(rejects) > 0 {
						t.Errorf("%s of %s: %+v, want %d rows: %q", format, what, res, want, rejects)
					}
				}
			}
			for range 10 {
				u := to.CreateUser(t)
				if p := to.CreatePost(t, u.ID); u.ID > store.MaxID || p.ID > store.MaxID {
					t.Errorf("the ids %d and %d were drawn", u.ID, p.ID)
				}
			}
		})
	}
}

// TestImport_PostgresCSV imports what PostgreSQL itself writes of our tables, as
// psql's \copy … csv header does, in sessions of several time zones.
func TestImport_PostgresCSV(t *testing.T) {
	t.Parallel()
	from := storetest.New(t)
	ann := from.CreateUser(t, func(u *db.CreateUserParams) { u.Username, u.Tags = `a "n", n`, []string{`"quoted", and \`, "é"} })
	from.CreatePost(t, ann.ID, func(p *db.CreatePostParams) { p.Content = "" })
	from.CreatePost(t, ann.ID, func(p *db.CreatePostParams) { p.Content = "line\nline, \"x\"" })
	for _, at := range []string{
		"2026-11-27 20:43:30.88033+00", "2026-01-01 00:00:00+00", "1890-06-01 12:00:00.000001+00", "0001-01-02 00:00:00+00 BC", "9999-12-30 00:00:00.5+00",
	} {
		from.Exec(t, "INSERT INTO users (username, email, age, created_at) VALUES ($1::text, 'x', NULL, $1::text::timestamptz)", at)
		from.Exec(t, "INSERT INTO posts (user_id, title, content, updated_at) VALUES ($1, $2::text, '', $2::text::timestamptz)", ann.ID, at)
	}
	for _, zone := range []string{"UTC", "Asia/Kolkata", "America/St_Johns", "Africa/Monrovia", "Europe/Amsterdam", "Asia/Manila"} {
		for _, options := range []string{"", ", FORCE_QUOTE *"} {
			to := storetest.New(t)
			for _, table := range []string{"users", "posts"} {
				var b bytes.Buffer
				copyTo(t, from, &b, zone, fmt.Sprintf("COPY %s TO STDOUT (FORMAT csv, HEADER%s)", table, options))
				res, rejects := imported(t, to, table, b.String(), store.ImportOptions{})
				if res.Inserted != res.Rows || res.Rows == 0 {
					t.Errorf("%s %s: %+v, %q", zone, options, res, rejects)
				}
			}
			for _, query := range []string{
				"SELECT string_agg(u::text, '|' ORDER BY id) FROM users u", "SELECT string_agg(p::text, '|' ORDER BY id) FROM posts p",
			} {
				var want, got string
				for d, text := range map[*storetest.DB]*string{from: &want, to: &got} {
					if err := d.Router.Pool().QueryRow(t.Context(), query).Scan(text); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s %s (-table +imported):\n%s", zone, options, diff)
				}
			}
		}
	}
}

// copyTo runs a COPY in a session of the given time zone.
func copyTo(t *testing.T, d *storetest.DB, w io.Writer, zone, sql string) {
	t.Helper()
	conn, err := d.Router.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "SELECT set_config('timezone', $1, false)", zone); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Conn().PgConn().CopyTo(t.Context(), w, sql); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "RESET timezone"); err != nil {
		t.Fatal(err)
	}
}

package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern"
	"quern/internal/db"
	"quern/internal/storetest"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
)

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// The counts as the statements of queries/stats.sql are to return them, by reading the tables.
const (
	countedOverview = `SELECT (SELECT count(*) FROM users) || ' ' || count(*) || ' ' || count(DISTINCT user_id) FROM posts`
	countedUsers    = `SELECT u.id || ' ' || u.username || ' ' || count(*) FROM posts p JOIN users u ON u.id = p.user_id
		GROUP BY u.id HAVING count(*) > 1 ORDER BY count(*) DESC, u.id`
	countedTags = `SELECT t.tag || ' ' || count(*) FROM posts p, jsonb_array_elements_text(p.tags) AS t (tag) WHERE t.tag IS NOT NULL
		GROUP BY t.tag ORDER BY count(*) DESC, t.tag`
	countedDays = `SELECT d.day::date || ' ' || (SELECT count(*) FROM posts WHERE (created_at AT TIME ZONE 'UTC')::date = d.day::date)
		FROM generate_series('2026-01-01'::date, '2026-01-10'::date, '1 day') AS d (day)`
)

// checkCounts fails the test if an answer differs from the rows that q sees.
func checkCounts(t *testing.T, when string, q *db.Queries, rows querier) {
	t.Helper()
	ctx := t.Context()
	counted := func(sql string) string {
		t.Helper()
		r, err := rows.Query(ctx, sql)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(r, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(list, "\n")
	}
	var kept []string
	compare := func(name, want string) {
		t.Helper()
		if diff := cmp.Diff(want, strings.Join(kept, "\n")); diff != "" {
			t.Errorf("%s: %s (-counted +kept):\n%s", when, name, diff)
		}
		kept = nil
	}
	o, err := q.GetOverview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept = append(kept, fmt.Sprint(o.Users, " ", o.Posts, " ", o.UsersWithPosts))
	compare("overview", counted(countedOverview))
	p := db.ListUserStatsParams{MinPosts: 1, AfterCount: 1 << 62, RowLimit: 2}
	for {
		page, err := q.ListUserStats(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page {
			kept = append(kept, fmt.Sprint(u.ID, " ", u.Username, " ", u.PostCount))
			p.AfterCount, p.AfterID = u.PostCount, u.ID
		}
		if len(page) < 2 {
			break
		}
	}
	compare("users with more than one post", counted(countedUsers))
	tags, err := q.ListTopTags(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range tags {
		kept = append(kept, fmt.Sprint(u.Tag, " ", u.UseCount))
	}
	compare("tags", counted(countedTags))
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	days, err := q.ListPostsPerDay(ctx, db.ListPostsPerDayParams{FromDay: day(1), ToDay: day(10)})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range days {
		kept = append(kept, fmt.Sprint(d.Day.Format(time.DateOnly), " ", d.PostCount))
	}
	compare("posts per day", counted(countedDays))
	different, err := q.ListCountDifferences(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range different {
		t.Errorf("%s: the check reports %+v", when, *x)
	}
}

// insertSome adds users 1 to 5 and posts of theirs.
const insertSome = `
	INSERT INTO users (id, username, email) OVERRIDING SYSTEM VALUE SELECT i, 'u' || i, 'e' FROM generate_series(1, 5) AS i;
	INSERT INTO posts (id, user_id, title, content, tags, created_at) OVERRIDING SYSTEM VALUE
	SELECT i, 1 + i % 4, 't', 'c', jsonb_build_array('a', 'tag' || i % 3, 'a'), '2026-01-01'::date + i % 7 FROM generate_series(1, 40) AS i;
	SELECT setval('users_id_seq', 1000), setval('posts_id_seq', 1000)`

// TestCounts_Exact checks the kept counts after each kind of write, before and after a fold.
func TestCounts_Exact(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"Insert":           `INSERT INTO posts (user_id, title, content, tags) VALUES (5, 't', 'c', '["new"]')`,
		"Insert32":         `INSERT INTO posts (user_id, title, content, tags) SELECT 1 + i % 4, 't', 'c', '["new"]' FROM generate_series(1, 32) AS i`,
		"Insert33":         `INSERT INTO posts (user_id, title, content, tags) SELECT 1 + i % 4, 't', 'c', '["new"]' FROM generate_series(1, 33) AS i`,
		"InsertDays":       `INSERT INTO posts (user_id, title, content, created_at) VALUES (1, 't', 'c', '2026-01-02'), (1, 't', 'c', '2026-01-03')`,
		"Delete":           `DELETE FROM posts WHERE id % 3 = 0`,
		"LastOfUser":       `DELETE FROM posts WHERE user_id = 2`,
		"Cascade":          `DELETE FROM users WHERE id IN (1, 3, 5)`,
		"UserOfPost":       `UPDATE posts SET user_id = 5 WHERE user_id = 1`,
		"Tags":             `UPDATE posts SET tags = '["b", "b", "tag1"]' WHERE id < 10`,
		"NumbersAsTags":    `UPDATE posts SET tags = '[1.0]' WHERE id < 10; UPDATE posts SET tags = '[1]' WHERE id < 5`,
		"NullTag":          `UPDATE posts SET tags = '[null, "x"]' WHERE id < 3`,
		"LongTags":         `UPDATE posts SET tags = jsonb_build_array(repeat(md5(id::text), 1000), 'z') WHERE id < 9`,
		"CreatedAt":        `UPDATE posts SET created_at = '2026-01-02 23:59:59+00' WHERE id > 20`,
		"Unrelated":        `UPDATE posts SET title = 'x', version = version + 1`,
		"Upsert":           `INSERT INTO posts (id, user_id, title, content, tags) OVERRIDING SYSTEM VALUE SELECT i, 2, 't', 'c', '["up"]' FROM generate_series(30, 50) AS i ON CONFLICT (id) DO UPDATE SET user_id = 2, tags = '["up"]'`,
		"DoNothing":        `INSERT INTO posts (id, user_id, title, content) OVERRIDING SYSTEM VALUE SELECT i, 2, 't', 'c' FROM generate_series(30, 50) AS i ON CONFLICT DO NOTHING`,
		"Truncate":         `TRUNCATE posts; INSERT INTO posts (user_id, title, content) VALUES (1, 't', 'c')`,
		"TruncateCascade":  `TRUNCATE users CASCADE`,
		"TruncateTwice":    `INSERT INTO posts (user_id, title, content) VALUES (1, 't', 'c'); TRUNCATE posts`,
		"Rollback":         `BEGIN; DELETE FROM users; INSERT INTO users (username, email) VALUES ('gone', 'e'); ROLLBACK`,
		"RollbackTruncate": `BEGIN; TRUNCATE users CASCADE; ROLLBACK`,
		"Savepoint": `BEGIN; INSERT INTO posts (user_id, title, content) VALUES (4, 'kept', 'c'); SAVEPOINT s; DELETE FROM posts;
			TRUNCATE posts; ROLLBACK TO s; DELETE FROM posts WHERE id = 7; COMMIT`,
		"OtherPath": `BEGIN; SET LOCAL search_path = pg_catalog; DELETE FROM public.users WHERE id = 1; COMMIT`,
		// The functions of the triggers must name everything with its schema.
		"HostilePath": `CREATE SCHEMA hostile;
			CREATE FUNCTION hostile.refuse() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
			CREATE FUNCTION hostile.timezone(text, timestamptz) RETURNS timestamp LANGUAGE sql AS 'SELECT now()::timestamp FROM hostile.refuse()';
			CREATE FUNCTION hostile.ints(bigint, int) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint FROM hostile.refuse()';
			CREATE FUNCTION hostile.larger(bigint, int) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.refuse()';
			CREATE FUNCTION hostile.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.refuse()';
			CREATE FUNCTION hostile.more(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint FROM hostile.refuse()';
			CREATE FUNCTION hostile.longer(bigint[], bigint) RETURNS bigint[] LANGUAGE sql AS 'SELECT $1 FROM hostile.refuse()';
			CREATE FUNCTION hostile.longer(jsonb[], jsonb) RETURNS jsonb[] LANGUAGE sql AS 'SELECT $1 FROM hostile.refuse()';
			CREATE FUNCTION hostile.later(pg_catalog.date, pg_catalog.date) RETURNS pg_catalog.date LANGUAGE sql AS 'SELECT $1 FROM hostile.refuse()';
			CREATE FUNCTION hostile.same(pg_catalog.date, pg_catalog.date) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.refuse()';
			CREATE AGGREGATE hostile.min(pg_catalog.date) (SFUNC = hostile.later, STYPE = pg_catalog.date, INITCOND = '2026-01-01');
			CREATE AGGREGATE hostile.max(pg_catalog.date) (SFUNC = hostile.later, STYPE = pg_catalog.date, INITCOND = '2026-01-01');
			CREATE AGGREGATE hostile.count(*) (SFUNC = hostile.more, STYPE = bigint, INITCOND = 0);
			CREATE AGGREGATE hostile.array_agg(bigint) (SFUNC = hostile.longer, STYPE = bigint[]);
			CREATE AGGREGATE hostile.array_agg(jsonb) (SFUNC = hostile.longer, STYPE = jsonb[]);
			CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.equal);
			CREATE OPERATOR hostile./ (LEFTARG = bigint, RIGHTARG = int, FUNCTION = hostile.ints);
			CREATE OPERATOR hostile.* (LEFTARG = bigint, RIGHTARG = int, FUNCTION = hostile.ints);
			CREATE OPERATOR hostile.> (LEFTARG = bigint, RIGHTARG = int, FUNCTION = hostile.larger);
			CREATE OPERATOR hostile.<= (LEFTARG = bigint, RIGHTARG = int, FUNCTION = hostile.larger);
			CREATE OPERATOR hostile.= (LEFTARG = pg_catalog.date, RIGHTARG = pg_catalog.date, FUNCTION = hostile.same);
			CREATE DOMAIN hostile.date AS pg_catalog.date CHECK (hostile.refuse());
			CREATE TABLE hostile.changed (LIKE posts);
			CREATE TABLE hostile.post_deltas (LIKE post_deltas);
			CREATE TABLE hostile.user_deltas (LIKE user_deltas);
			BEGIN;
			SET LOCAL search_path = hostile, pg_catalog, public;
			INSERT INTO users (username, email) VALUES ('x', 'e');
			INSERT INTO posts (user_id, title, content, tags) VALUES (5, 't', 'c', '["new"]');
			INSERT INTO posts (user_id, title, content, tags) VALUES (5, 't', 'c', '["new"]'), (4, 't', 'c', '["new"]');
			INSERT INTO posts (user_id, title, content, tags) SELECT 4, 't', 'c', '["new"]' FROM generate_series(1, 40);
			UPDATE posts SET user_id = 3 WHERE id = 7;
			DELETE FROM posts WHERE id = 8;
			DELETE FROM users WHERE id = 1;
			COMMIT;
			DROP SCHEMA hostile CASCADE`,
		"Merge": `MERGE INTO posts AS p USING (SELECT generate_series(38, 44) AS id) AS g ON p.id = g.id
			WHEN MATCHED AND p.id = 38 THEN DELETE WHEN MATCHED THEN UPDATE SET user_id = 3 WHEN NOT MATCHED THEN INSERT (user_id, title, content) VALUES (2, 't', 'c')`,
		"Rebuild": `DELETE FROM user_post_counts; UPDATE post_totals SET posts = 7; SELECT rebuild_counts()`,
		// As if the database had been restored on a server with fewer transactions.
		"Restored": `UPDATE post_totals SET from_xid = '999999999'; UPDATE user_totals SET from_xid = '999999999'; DELETE FROM users WHERE id = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, folded := range []bool{false, true} {
				d := storetest.New(t)
				d.Exec(t, insertSome)
				fold := func() {
					t.Helper()
					if _, err := d.Store.FoldCounts(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if folded {
					fold()
				}
				d.Exec(t, sql)
				checkCounts(t, fmt.Sprintf("unfolded, the rest folded: %v", folded), d.Queries, d.Router.Pool())
				fold()
				checkCounts(t, "folded", d.Queries, d.Router.Pool())
			}
		})
	}
}

// TestCounts_Copy checks the counts of an import, which uses COPY.
func TestCounts_Copy(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, insertSome)
	conn, err := d.Router.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	// The posts of a day share deltas, and each of the others has its own.
	rows := strings.Repeat("5\tt\tc\t[\"copied\"]\t2026-01-02 12:00:00+00\n", 1000)
	for day := range 6000 {
		rows += fmt.Sprintf("5\tt\tc\t[]\t%s\n", time.Date(2026, 1, day, 12, 0, 0, 0, time.UTC).Format(time.RFC3339))
	}
	if _, err := conn.Conn().PgConn().CopyFrom(t.Context(), strings.NewReader(rows), "COPY posts (user_id, title, content, tags, created_at) FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, "unfolded", d.Queries, d.Router.Pool())
	// More than one batch, of a single transaction. Fewer than the rows, because deltas are shared.
	if n, err := d.Store.FoldCounts(t.Context()); n < 6000 || n > 6200 || err != nil {
		t.Errorf("%d folded: %v", n, err)
	}
	checkCounts(t, "folded", d.Queries, d.Router.Pool())
	if n, err := d.Queries.CountUnfolded(t.Context()); n.Posts+n.Users > 0 || err != nil {
		t.Errorf("%+v are left: %v", n, err)
	}
}

// TestCounts_Snapshot checks that a transaction sees the counts of its snapshot, whatever others
// write, fold and rebuild meanwhile.
func TestCounts_Snapshot(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, insertSome)
	tx, err := d.Router.Pool().BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	check := func(when string) { t.Helper(); checkCounts(t, when, db.New(tx), tx) }
	check("at first")
	for _, sql := range []string{`DELETE FROM users WHERE id = 1`, `INSERT INTO posts (user_id, title, content, tags) VALUES (5, 't', 'c', '["new"]')`} {
		d.Exec(t, sql)
		check("written")
		if _, err := d.Store.FoldCounts(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("folded")
		checkCounts(t, "a later snapshot", d.Queries, d.Router.Pool())
	}
	if err := d.Queries.RebuildCounts(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("rebuilt")
}

// TestCounts_Concurrent checks the counts in many snapshots while others write, fold and rebuild.
func TestCounts_Concurrent(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, insertSome)
	ctx, end := context.WithTimeout(t.Context(), 2*time.Second)
	defer end()
	var all sync.WaitGroup
	loop := func(f func(r *rand.Rand) error) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(rand.Uint64(), 1))
			for ctx.Err() == nil {
				// A deadlock of two writers is theirs, and both of its outcomes are counted.
				if err := f(r); err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "deadlock") && !strings.Contains(err.Error(), "foreign key") {
					t.Error(err)
					return
				}
			}
		})
	}
	writes := []string{
		`INSERT INTO posts (user_id, title, content, tags) VALUES ($1::int % 5 + 1, 't', 'c', jsonb_build_array('tag' || $1::int % 9))`,
		`INSERT INTO posts (user_id, title, content) SELECT 1 + ($1::int + i) % 5, 't', 'c' FROM generate_series(1, 20) AS i`,
		`DELETE FROM posts WHERE id IN (SELECT id FROM posts ORDER BY id LIMIT $1::int % 5)`,
		`UPDATE posts SET user_id = 1 + (user_id + $1::int) % 5 WHERE id % 17 = $1::int % 17`,
		`UPDATE posts SET tags = '["a"]', created_at = '2026-01-05' WHERE id % 13 = $1::int % 13`,
		`INSERT INTO users (username, email) VALUES ('w' || $1::int, 'e') ON CONFLICT DO NOTHING`,
		`DELETE FROM users WHERE id > 5 AND id % 3 = $1::int % 3`,
	}
	for range 3 {
		loop(func(r *rand.Rand) error {
			_, err := d.Router.Pool().Exec(ctx, writes[r.IntN(len(writes))], r.IntN(1_000_000))
			return err
		})
	}
	for range 2 {
		loop(func(*rand.Rand) error { _, err := d.Store.FoldCounts(ctx); return err })
	}
	loop(func(*rand.Rand) error {
		time.Sleep(100 * time.Millisecond) // rebuilds all the time would leave nothing to fold
		return d.Queries.RebuildCounts(ctx)
	})
	for ctx.Err() == nil {
		tx, err := d.Router.Pool().BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			t.Fatal(err)
		}
		checkCounts(t, "among writers", db.New(tx), tx)
		_ = tx.Rollback(t.Context())
	}
	all.Wait()
	checkCounts(t, "at the end", d.Queries, d.Router.Pool())
}

// TestFoldCounts_BlocksNobody checks that a fold which is not committed blocks neither writers nor
// readers, and that a second process leaves the deltas to it.
func TestFoldCounts_BlocksNobody(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, insertSome)
	tx, err := d.Router.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q := db.New(tx)
	if _, err := q.LockPostTotals(t.Context()); err != nil {
		t.Fatal(err)
	}
	var settings string
	if err := tx.QueryRow(t.Context(), `SELECT concat_ws(' ', current_setting('synchronous_commit'), current_setting('enable_seqscan'))`).Scan(&settings); err != nil || settings != "off off" {
		t.Errorf("synchronous_commit and enable_seqscan of a fold are %q: %v", settings, err)
	}
	if n, err := q.FoldPosts(t.Context(), 1); n != 1 || err != nil {
		t.Fatalf("%d folded: %v", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := d.Router.Pool().Exec(ctx, `UPDATE posts SET user_id = 5 WHERE user_id = 1`); err != nil {
		t.Errorf("a writer: %v", err)
	}
	checkCounts(t, "during a fold", d.Queries, d.Router.Pool())
	if n, err := d.Store.FoldCounts(ctx); n != 1 || err != nil { // the delta of users, whose totals are not locked
		t.Errorf("a second process folded %d: %v", n, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, "after a fold that was rolled back", d.Queries, d.Router.Pool())
	if n, err := d.Store.FoldCounts(t.Context()); n < 20 || err != nil {
		t.Errorf("%d folded: %v", n, err)
	}
}

// TestCounts_Migration migrates a database with rows while others write. An interrupted migration
// is applied again.
func TestCounts_Migration(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	m, err := migrate.New(migrate.Config{URL: url, FS: quern.Migrations()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const before = 15
	if _, err := m.To(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(insertSome)
	// The table exists already, with another column, so the first attempt fails after it has
	// created others.
	exec(`CREATE TABLE user_post_counts (n int)`)
	if _, err := m.Up(t.Context()); err == nil {
		t.Fatal("the first attempt succeeded")
	}
	exec(`DROP TABLE user_post_counts; DELETE FROM posts WHERE user_id = 2`)
	ctx, end := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 3 {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			defer conn.Close(context.WithoutCancel(ctx))
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := conn.Exec(t.Context(), `INSERT INTO posts (user_id, title, content, tags) VALUES ($1, 't', 'c', '["m"]')`, 1+i); err != nil {
					t.Error(err)
					return
				}
				if n%3 == 0 {
					_, _ = conn.Exec(t.Context(), `DELETE FROM posts WHERE id = (SELECT max(id) FROM posts WHERE user_id = $1)`, 1+i)
				}
			}
		})
	}
	_, err = m.Up(t.Context())
	end()
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	d := storetest.Open(t, postgres.Config{URL: url})
	checkCounts(t, "migrated", d.Queries, d.Router.Pool())
	// Before version 18, each post had a delta.
	const single = 17
	exec(`INSERT INTO posts (user_id, title, content, tags) SELECT 1 + i % 5, 't', 'c', '["m", "n"]' FROM generate_series(1, 100) AS i`)
	if _, err := m.To(t.Context(), single); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, "migrated down", d.Queries, d.Router.Pool())
	exec(`DELETE FROM posts WHERE id % 7 = 3; INSERT INTO posts (user_id, title, content, tags) SELECT 1 + i % 3, 't', 'c', '["k"]' FROM generate_series(1, 30) AS i`)
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(`DELETE FROM posts WHERE id % 11 = 3; UPDATE posts SET user_id = 2 WHERE user_id = 1`)
	checkCounts(t, "migrated down and up", d.Queries, d.Router.Pool())
	if _, err := d.Store.FoldCounts(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, "folded", d.Queries, d.Router.Pool())
}

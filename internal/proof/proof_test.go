package proof_test

import (
	"strings"
	"testing"

	"quern/internal/proof"
	"quern/pgtest"
	"quern/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const schema = `
CREATE TYPE "OrderStatus" AS ENUM ('new', 'old');
CREATE DOMAIN grade AS integer CHECK (value < 9);
CREATE TABLE authors (id bigint PRIMARY KEY, name text NOT NULL, age integer, status "OrderStatus" NOT NULL DEFAULT 'new', born date NOT NULL, grade grade NOT NULL, tags text[] NOT NULL, doc jsonb NOT NULL);
CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL REFERENCES authors, tenant bigint NOT NULL, title text NOT NULL, sold timestamptz NOT NULL, price numeric NOT NULL);
CREATE VIEW shelf AS SELECT b.id, b.title, a.name, a.age FROM books b LEFT JOIN authors a ON a.id = b.author_id;
CREATE VIEW plain AS SELECT id, title FROM books;
`

// params and columns are written "name type". A column with "!" is NOT NULL.
func statement(sql, params, columns string) postgres.Statement {
	s := postgres.Statement{Name: "Tried", File: "tried.sql", Kind: postgres.Many, SQL: sql}
	for p := range strings.SplitSeq(params, ", ") {
		if name, typ, ok := strings.Cut(p, " "); ok {
			s.Params = append(s.Params, postgres.Param{Name: name, Type: typ})
		}
	}
	for c := range strings.SplitSeq(columns, ", ") {
		if name, typ, ok := strings.Cut(c, " "); ok {
			typ, notNull := strings.CutSuffix(strings.ReplaceAll(typ, "_", " "), "!")
			s.Columns = append(s.Columns, postgres.Column{Name: name, Type: typ, NotNull: notNull})
		}
	}
	if columns == "" {
		s.Kind = postgres.Exec
	}
	return s
}

// trial is a statement with a part of its expected problem, or "".
type trial struct {
	s    postgres.Statement
	want string
}

// try checks statements in the schema of the tests with additional objects.
func try(t *testing.T, besides string, trials []trial) {
	t.Helper()
	url := pgtest.EmptyURL(t)
	if _, err := pgtest.Connect(t, nil, postgres.Config{URL: url}).Pool().Exec(t.Context(), schema+besides); err != nil {
		t.Fatal(err)
	}
	for _, tt := range trials {
		problems, err := proof.Statements(t.Context(), url, []postgres.Statement{tt.s})
		if err != nil {
			t.Errorf("%s: %v", tt.s.SQL, err)
			continue
		}
		var found []string
		for _, p := range problems {
			found = append(found, p.String())
		}
		all := strings.Join(found, "\n")
		switch {
		case tt.want == "" && all != "":
			t.Errorf("%s: it is right, and found was:\n%s", tt.s.SQL, all)
		case !strings.Contains(all, tt.want):
			t.Errorf("%s: want %q, found was:\n%s", tt.s.SQL, tt.want, all)
		}
	}
}

func TestStatements_Types(t *testing.T) {
	t.Parallel()
	try(t, "", []trial{
		{statement("SELECT id, name, tags FROM authors WHERE id = $1 AND name = $2", "id bigint, name text", "id bigint!, name text!, tags text[]!"), ""},
		{statement("SELECT id FROM authors WHERE status = $1 LIMIT $2", `s "OrderStatus", n integer`, "id bigint!"), ""},
		{statement("SELECT id FROM authors WHERE name = upper($1)", "t anymultirange", "id bigint!"), ""},
		{statement("SELECT grade FROM authors WHERE grade = ANY($1::grade[])", "g grade[]", "grade grade!"), ""},
		{statement("SELECT avg(price) AS a, count(*) AS n FROM books", "", "a double_precision, n bigint!"), ""},
		{statement("SELECT id FROM authors WHERE born < $1 AND doc @> $2 AND tags && $3", "b date, d jsonb, t text[]", "id bigint!"), ""},
		{statement("UPDATE authors SET age = $1 WHERE id = $2", "age integer, id bigint", ""), ""},

		{statement("SELECT date_trunc('day', sold) AS day FROM books", "", "day interval!"), "the column day is scanned as interval, but the server returns timestamp with time zone: cast it"},
		{statement("SELECT id * 1 AS n FROM books", "", "n integer!"), "the column n is scanned as integer, but the server returns bigint"},
		{statement("SELECT nullif(name, '') AS name FROM authors", "", "name boolean"), "the column name is scanned as boolean, but the server returns text"},
		{statement("SELECT id, title FROM books WHERE (id, title) > ($1, $2)", "id bigint, title bigint", "id bigint!, title text!"), "the parameter @title is sent as bigint, but the server expects text: cast it: @title::text"},
		{statement("SELECT id FROM authors WHERE age = $1", "age bigint", "id bigint!"), "the parameter @age is sent as bigint, but the server expects integer"},
		{statement("SELECT id FROM books WHERE sold > $1", "t interval", "id bigint!"), "the parameter @t is sent as interval"},
		{statement("SELECT array_agg(id) AS ids FROM books GROUP BY author_id", "", "ids bigint!"), "the column ids is scanned as bigint"},
		{statement("SELECT name FROM authors WHERE id = $1", "", "name text!"), "the server expects 1 parameters, but the generated code sends 0"},
		{statement("SELECT id, name FROM authors", "", "id bigint!"), "the server returns 2 columns, but the generated code scans 1"},
		{statement("SELECT gone FROM authors", "", "gone text!"), `the server cannot prepare it: ERROR: column "gone" does not exist`},
		{statement("MERGE INTO authors a USING books b ON b.author_id = a.id WHEN MATCHED THEN UPDATE SET age = sqlc.arg(age)", "", ""), "the server cannot prepare it"},
		{statement("DELETE FROM authors", "", "id bigint!"), "it returns no columns, which :many needs"},
		{postgres.Statement{Kind: postgres.CopyFrom, SQL: `copy "authors" ( "id", "name" ) from stdin binary;`, Params: []postgres.Param{{Name: "id", Type: "bigint"}, {Name: "name", Type: "text"}}}, ""},
		{postgres.Statement{Kind: postgres.CopyFrom, SQL: `copy "authors" ( "id", "gone" ) from stdin binary;`, Params: []postgres.Param{{Name: "id", Type: "bigint"}, {Name: "gone", Type: "text"}}}, "cannot prepare"},
		{postgres.Statement{Kind: postgres.CopyFrom, SQL: `copy "authors" ( "age" ) from stdin binary;`, Params: []postgres.Param{{Name: "age", Type: "bigint"}}}, "the column age is sent as bigint"},
	})
}

func TestStatements_Nulls(t *testing.T) {
	t.Parallel()
	const left = "books b LEFT JOIN authors a ON a.id = b.author_id"
	try(t, "", []trial{
		{statement("SELECT b.id, a.name FROM "+left, "", "id bigint!, name text"), ""},
		{statement("SELECT b.id, a.name FROM "+left+" WHERE a.name = $1", "name text", "id bigint!, name text!"), ""},
		{statement("SELECT a.name FROM "+left+" WHERE a.id IS NOT NULL", "", "name text!"), ""},
		{statement("SELECT coalesce(a.name, '') AS name FROM "+left, "", "name text!"), ""},
		{statement("SELECT b.title, c.n FROM books b LEFT JOIN LATERAL (SELECT count(*) AS n FROM authors a WHERE a.id = b.author_id) c ON true", "", "title text!, n bigint!"), ""},
		{statement("SELECT author_id, max(price) AS p, count(*) AS n FROM books GROUP BY author_id", "", "author_id bigint!, p numeric!, n bigint!"), ""},
		{statement("SELECT (SELECT count(*) FROM books WHERE author_id = a.id) AS n FROM authors a", "", "n bigint!"), ""},
		{statement("SELECT id, title FROM plain", "", "id bigint!, title text!"), ""},
		{statement("SELECT array_agg(title) AS a, jsonb_agg(title) AS b FROM books", "", "a text[]!, b jsonb!"), ""},
		{statement("SELECT title, name FROM shelf", "", "title text!, name text"), ""},
		{statement("SELECT CASE WHEN id > 1 THEN name ELSE 'x' END AS name, $1::text AS given FROM authors", "given text", "name text!, given text!"), ""},
		{statement("INSERT INTO authors (id, name, born, grade, tags, doc) VALUES ($1, 'a', now(), 1, '{}', '{}') RETURNING id, name", "id bigint", "id bigint!, name text!"), ""},
		{statement("WITH x AS (SELECT id FROM books UNION SELECT id FROM authors) SELECT id FROM x", "", "id bigint!"), ""},
		{statement("WITH RECURSIVE x AS (SELECT id, author_id FROM books WHERE id = $1 UNION ALL SELECT b.id, b.author_id FROM books b JOIN x ON x.author_id = b.id) SELECT id FROM x", "id bigint", "id bigint!"), ""},

		{statement("SELECT b.id, a.name FROM "+left, "", "id bigint!, name text!"), "the column name can be NULL, but the generated code treats it as NOT NULL: the LEFT JOIN may find no row of it: write coalesce(…)"},
		{statement("SELECT a.name, b.title FROM authors a RIGHT JOIN books b ON a.id = b.author_id", "", "name text!, title text!"), "the RIGHT JOIN"},
		{statement("SELECT a.name, b.title FROM authors a FULL JOIN books b ON a.id = b.author_id", "", "name text, title text!"), "the column title can be NULL"},
		{statement("SELECT x.title FROM authors a LEFT JOIN (books x JOIN books y ON y.id = x.id) ON x.author_id = a.id", "", "title text!"), "the LEFT JOIN"},
		{statement("SELECT s.name FROM (SELECT a.name FROM "+left+") AS s", "", "name text!"), "the LEFT JOIN"},
		{statement("WITH s AS (SELECT a.name FROM "+left+") SELECT name FROM s", "", "name text!"), "the LEFT JOIN"},
		{statement("SELECT name FROM shelf", "", "name text!"), "the LEFT JOIN"},
		{statement("SELECT age FROM shelf", "", "age integer!"), "can be NULL"},
		{statement("SELECT b.id, lower(a.name) AS name FROM "+left, "", "id bigint!, name text!"), "the LEFT JOIN"},
		{statement("SELECT sum(price) AS s FROM books", "", "s numeric!"), "sum() of no rows is NULL"},
		{statement("SELECT max(age) AS m FROM authors GROUP BY name", "", "m integer!"), "authors.age allows NULL"},
		{statement("SELECT max(price) FILTER (WHERE id > 1) AS m FROM books GROUP BY title", "", "m numeric!"), "FILTER"},
		{statement("SELECT (SELECT name FROM authors WHERE id = author_id) AS name FROM books", "", "name text!"), "the subquery may return no row"},
		{statement("SELECT lag(title) OVER (ORDER BY id) AS before FROM books", "", "before text!"), "lag() returns NULL"},
		{statement("SELECT CASE WHEN id > 1 THEN title END AS t FROM books", "", "t text!"), "CASE without ELSE"},
		{statement("SELECT doc->>'a' AS a FROM authors", "", "a text!"), "no such element"},
		{statement("SELECT tags[1] AS a FROM authors", "", "a text!"), "may not have that element"},
		{statement("SELECT nullif(title, '') AS t FROM books", "", "t text!"), "NULLIF"},
		{statement("SELECT age FROM authors", "", "age integer!"), "authors.age allows NULL"},
		{statement("SELECT title FROM books UNION ALL SELECT NULL", "", "title text!"), "NULL is one of its values"},
		{statement("SELECT title, count(*) AS n FROM books GROUP BY ROLLUP (title)", "", "title text!, n bigint!"), "grouping sets"},
		{statement("UPDATE authors SET age = 1 WHERE id = $1 RETURNING age", "id bigint", "age integer!"), "authors.age allows NULL"},
	})
}

// TestStatements_NotValid has a column of which PostgreSQL 18 says that it is NOT NULL, although
// the rows from before that may have NULLs. An older server cannot say so.
func TestStatements_NotValid(t *testing.T) {
	t.Parallel()
	const besides = `
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'ALTER TABLE authors ADD CONSTRAINT authors_age_set NOT NULL age NOT VALID';
    END IF;
END $$;`
	try(t, besides, []trial{
		{statement("SELECT name, age FROM authors", "", "name text!, age integer!"), "authors.age allows NULL"},
		{statement("SELECT name, age FROM authors", "", "name text!, age integer"), ""},
	})
}

func TestStatements_Reads(t *testing.T) {
	t.Parallel()
	const besides = `
CREATE SEQUENCE counted;
CREATE FUNCTION reads(bigint) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM books WHERE id = $1';
CREATE FUNCTION forgot(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT nextval('counted') $$;
CREATE FUNCTION hides() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN counts(); END $$;
CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT hides(); END;
CREATE FUNCTION sets() RETURNS text LANGUAGE sql STABLE AS $$ SELECT set_config('app.a', 'b', false) $$;
CREATE FUNCTION says() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'nextval(' || 'counts()' $$;
CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN $1 = $2; END';
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
CREATE VIEW counting AS SELECT id, counts() AS n FROM books;
CREATE VIEW lucky AS SELECT id, random() AS n FROM books;
CREATE FUNCTION step(bigint, bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT nextval($$counted$$)';
CREATE AGGREGATE stepped(bigint) (SFUNC = step, STYPE = bigint);
CREATE TABLE guarded (id bigint PRIMARY KEY);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY one ON guarded FOR SELECT USING (counts() > 0);`
	replica := func(sql, columns string) postgres.Statement {
		s := statement(sql, "", columns)
		s.Route = postgres.Replica
		return s
	}
	reads := func(sql, columns string) postgres.Statement {
		s := statement(sql, "", columns)
		s.Reads = true
		return s
	}
	try(t, besides, []trial{
		{replica("SELECT id, reads(id) AS n FROM books", "id bigint!, n bigint"), ""},
		{replica("SELECT id, says() AS n FROM books WHERE lower(title) = 'a' AND sold < now()", "id bigint!, n text"), ""},
		{replica("SELECT id, random() AS n, clock_timestamp() AS t FROM books", "id bigint!, n double_precision!, t timestamptz!"), ""},
		{reads("SELECT id, n FROM lucky", "id bigint!, n double_precision!"), ""},

		{replica("SELECT set_config('app.a', 'b', false)", "s text"), "it is declared to only read, but calls set_config(), whose effects outlast the statement: remove @route replica"},
		{replica("SELECT counts()", "n bigint"), "calls counts(), which is VOLATILE and may write: declare it STABLE if it only reads, or remove @route replica"},
		{replica("SELECT forgot(id) AS n FROM books", "n bigint"), "forgot(), which is VOLATILE"},
		{replica("SELECT id FROM books WHERE id = hides()", "id bigint!"), "calls hides(), which calls counts()"},
		{replica("SELECT atomic() AS n", "n bigint"), "calls atomic(), which calls hides(), which calls counts()"},
		{replica("SELECT sets() AS n", "n text"), "calls sets(), which calls set_config()"},
		{replica("SELECT id FROM books WHERE title === 'a'", "id bigint!"), "same(), which is VOLATILE"},
		{replica("SELECT nextval('counted')", "n bigint!"), "nextval()"},
		{replica("SELECT pg_advisory_lock(1)::text AS n", "n text"), "pg_advisory_lock()"},
		{replica("SELECT pg_notify('a', 'b')::text AS n", "n text"), "pg_notify()"},
		{replica("SELECT txid_current()", "n bigint!"), "txid_current()"},
		{replica("SELECT stepped(id) FROM books", "n bigint"), "step(), which is VOLATILE"},
		{replica("SELECT id FROM guarded", "id bigint!"), "counts(), which is VOLATILE"},
		{replica("DELETE FROM books RETURNING id", "id bigint!"), "fails in a read-only transaction"},
		{replica("SELECT id FROM books FOR UPDATE", "id bigint!"), "fails in a read-only transaction"},
		{reads("SELECT id, n FROM counting", "id bigint!, n bigint"), "counts(), which is VOLATILE and may write: declare it STABLE if it only reads, or call it in the statement itself, where the check sees it"},
	})
}

func TestStatements_Plans(t *testing.T) {
	t.Parallel()
	const besides = `
CREATE INDEX "Books Title" ON books (title text_pattern_ops);
CREATE INDEX books_lower ON books (lower(title));
CREATE INDEX books_tenant_id ON books (tenant, id);
CREATE INDEX books_sold ON books (sold) WHERE price > 0;
CREATE INDEX authors_age ON authors (age);
CREATE INDEX authors_born ON authors (born);
CREATE INDEX authors_status ON authors (status);
CREATE INDEX authors_doc ON authors USING gin (doc);
CREATE INDEX authors_tags ON authors USING gin (tags);
CREATE SCHEMA audit;
CREATE TABLE audit.events (id bigint PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX "Events_At" ON audit.events (at);
CREATE TABLE posts_of (id bigint PRIMARY KEY, post_id bigint NOT NULL, rank bigint NOT NULL);
CREATE TABLE comments (id bigint PRIMARY KEY, post_id bigint NOT NULL, rank bigint NOT NULL);
CREATE INDEX comments_post_id ON comments (post_id);
CREATE TABLE parts (a bigint NOT NULL, id bigint NOT NULL, b bigint NOT NULL, PRIMARY KEY (a, id)) PARTITION BY HASH (a);
CREATE TABLE parts0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX parts_id ON parts (id);`
	plan := func(plan, sql, params, columns string) postgres.Statement {
		s := statement(sql, params, columns)
		s.Plan = plan
		return s
	}
	const walks = "no index condition covers "
	try(t, besides, []trial{
		{plan("indexed", "SELECT id FROM comments WHERE post_id = $1 ORDER BY id LIMIT $2", "p bigint, n bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM comments WHERE post_id > $1 ORDER BY id LIMIT 1", "p bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT max(id) AS m FROM comments WHERE post_id = $1", "p bigint", "m bigint"), ""},
		{plan("indexed", "SELECT id FROM books WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3", "t bigint, a bigint, n bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE id = ANY($1::bigint[])", "ids bigint[]", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE id IN ($1, $2)", "a bigint, b bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE id = $1 OR tenant = $2", "a bigint, b bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM authors WHERE age = $1 AND born = $2", "a integer, b date", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE lower(title) = lower($1)", "t text", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE title = upper($1)", "t anymultirange", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM authors WHERE status = $1", `s "OrderStatus"`, "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM authors WHERE doc @> $1 AND tags && $2", "d jsonb, t text[]", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE sold > $1 AND price > 0", "s timestamptz", "id bigint!"), ""},
		{plan("indexed", "SELECT b.id FROM authors a JOIN books b ON b.tenant = a.id WHERE a.id = $1", "id bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3", "t bigint, i bigint, n bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id FROM books WHERE id > (SELECT max(id) FROM authors WHERE age = $1) AND tenant = $2", "a integer, t bigint", "id bigint!"), ""},
		{plan("indexed", "SELECT id, '$1 it''s' AS t FROM books WHERE id = $1 -- don't", "id bigint", "id bigint!, t text!"), ""},
		{plan("indexed", "SELECT id FROM parts WHERE a = $1 AND id = $2", "a bigint, id bigint", "id bigint!"), ""},
		{plan("indexed", "UPDATE books SET title = $1 WHERE id = $2", "t text, id bigint", ""), ""},
		{plan("indexed", "INSERT INTO books SELECT * FROM books WHERE id = $1", "id bigint", ""), ""},
		{plan("uses books_pkey", "UPDATE books SET title = $1 WHERE id = $2 AND tenant = $3", "t text, id bigint, v bigint", ""), ""},
		{plan(`uses "Books Title"`, "SELECT id FROM books WHERE title = $1", "t text", "id bigint!"), ""},
		{plan(`uses audit."Events_At"`, "SELECT id FROM audit.events WHERE at > $1", "a timestamptz", "id bigint!"), ""},
		{plan("uses parts_pkey", "SELECT id FROM parts WHERE a = $1 AND id = $2", "a bigint, id bigint", "id bigint!"), ""},
		{plan("uses parts_id", "SELECT id FROM parts WHERE id = $1", "id bigint", "id bigint!"), ""},
		{plan("uses parts_id", "SELECT id FROM parts WHERE a = $1", "a bigint", "id bigint!"), "scans all of parts0"},
		{plan("uses audit.events_pkey", "SELECT id FROM audit.events WHERE id = $1", "a bigint", "id bigint!"), ""},

		{plan("indexed", "SELECT id FROM posts_of WHERE post_id = $1 ORDER BY id LIMIT $2", "p bigint, n bigint", "id bigint!"), walks + "(posts_of.post_id = $1) on posts_of"},
		{plan("indexed", "SELECT id FROM posts_of WHERE id > $1 AND post_id = $2 ORDER BY id LIMIT 5", "a bigint, p bigint", "id bigint!"), walks},
		{plan("indexed", "SELECT id FROM comments WHERE post_id = $1 AND rank > $2", "p bigint, r bigint", "id bigint!"), walks},
		{plan("indexed", "SELECT id FROM comments WHERE post_id = $1 OR rank = $2", "p bigint, r bigint", "id bigint!"), "scans all of comments"},
		{plan("indexed", "SELECT id FROM comments WHERE id > 0 AND rank = ANY($1::bigint[])", "r bigint[]", "id bigint!"), walks},
		{plan("indexed", "SELECT id FROM comments WHERE post_id + 0 = $1 ORDER BY id", "p bigint", "id bigint!"), walks},
		{plan("indexed", "SELECT id FROM books WHERE title LIKE $1 || '%' ORDER BY id", "t text", "id bigint!"), walks},
		{plan("indexed", "SELECT id FROM books WHERE upper(title) = $1 ORDER BY id", "t text", "id bigint!"), walks},
		{plan("indexed", "SELECT id FROM books WHERE $1::text IS NULL OR title = $1 ORDER BY id", "t text", "id bigint!"), walks},
		{plan("indexed", "SELECT b.id FROM authors a JOIN books b ON b.id = a.id AND b.price > $1 WHERE a.id > 0", "p numeric", "id bigint!"), walks},
		{plan("indexed", "SELECT a.id, b.title FROM authors a LEFT JOIN books b ON b.id = a.id AND b.title <> $1 WHERE a.id > 0", "p text", "id bigint!, title text"), walks},
		{plan("indexed", "SELECT author_id FROM books WHERE id > 0 GROUP BY author_id HAVING count(*) > $1", "n bigint", "author_id bigint!"), walks},
		{plan("indexed", "SELECT a FROM parts WHERE a = $1 AND b = $2", "a bigint, b bigint", "a bigint!"), walks},
		{plan("indexed", "SELECT id FROM authors WHERE sold IS NULL", "", "id bigint!"), "cannot prepare"},
		{plan("indexed", "UPDATE books SET title = $1 WHERE id = $2 AND tenant = $3", "t text, id bigint, v bigint", ""), ""},
		{plan("indexed", "SELECT count(*) AS n FROM books", "", "n bigint!"), ""},
		{plan("uses books_pkey", "SELECT id FROM books WHERE title = $1", "t text", "id bigint!"), "it scans all of books"},
		{plan("uses books_pkey", "SELECT id FROM books WHERE title = $1 ORDER BY id LIMIT 1", "t text", "id bigint!"), "the index cannot serve it"},
		{plan("uses nowhere", "SELECT id FROM books WHERE id = $1", "i bigint", "id bigint!"), "there is no such index"},
		{plan(`uses "books title"`, "SELECT id FROM books WHERE title = $1", "t text", "id bigint!"), "there is no such index"},
		{plan("uses events_pkey", "SELECT id FROM audit.events WHERE id = $1", "a bigint", "id bigint!"), "there is no such index"},
	})
}

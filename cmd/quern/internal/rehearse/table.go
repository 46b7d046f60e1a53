package rehearse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/scratch"
)

// Common is a statement that changes a schema, for the table of the locks of such statements.
type Common struct {
	Before string // statements that create the objects it needs in addition to commonBase
	SQL    string
	NoTx   bool
	Since  int    // the first major version that has it, 0 for all
	Safe   string // the safe alternative, or empty
}

// commonBase are the tables on which the statements of the table run. A statement reads and
// rewrites their rows.
const commonBase = `
CREATE TABLE other (id bigint PRIMARY KEY, note text);
CREATE TABLE t (id bigint NOT NULL, n integer, code varchar(10), amount numeric(8, 2), at timestamptz, other_id bigint, label text);
INSERT INTO other SELECT g, 'note' FROM generate_series(1, 1000) AS g;
INSERT INTO t SELECT g, g, 'c' || g, 1, now(), g, 'l' FROM generate_series(1, 1000) AS g;
ALTER TABLE t ADD PRIMARY KEY (id);
CREATE INDEX t_code_idx ON t (code);
`

// Commons are the rows of the table.
var Commons = []Common{
	{SQL: "CREATE INDEX i ON t (n)", Safe: "CREATE INDEX CONCURRENTLY"},
	{SQL: "CREATE INDEX CONCURRENTLY i ON t (n)", NoTx: true},
	{SQL: "DROP INDEX t_code_idx", Safe: "DROP INDEX CONCURRENTLY"},
	{SQL: "DROP INDEX CONCURRENTLY t_code_idx", NoTx: true},
	{SQL: "REINDEX INDEX t_code_idx", Safe: "REINDEX INDEX CONCURRENTLY"},
	{SQL: "REINDEX INDEX CONCURRENTLY t_code_idx", NoTx: true},
	{SQL: "ALTER INDEX t_code_idx RENAME TO i"},
	{SQL: "ALTER TABLE t ADD COLUMN x integer"},
	{SQL: "ALTER TABLE t ADD COLUMN x integer NOT NULL DEFAULT 1"},
	{SQL: "ALTER TABLE t ADD COLUMN x timestamptz DEFAULT now()"},
	{SQL: "ALTER TABLE t ADD COLUMN x double precision DEFAULT random()", Safe: "without a default, then SET DEFAULT, then fill in batches"},
	{SQL: "ALTER TABLE t ADD COLUMN x bigint GENERATED ALWAYS AS IDENTITY", Safe: "a nullable column, filled in batches, made an identity at the end"},
	{SQL: "ALTER TABLE t ADD COLUMN x integer GENERATED ALWAYS AS (n + 1) STORED", Safe: "a plain column, filled by a trigger and in batches"},
	{SQL: "ALTER TABLE t ADD COLUMN x bigint REFERENCES other"},
	{SQL: "ALTER TABLE t ADD COLUMN x integer CHECK (x > 0)", Safe: "the column, then the constraint NOT VALID, then VALIDATE"},
	{SQL: "ALTER TABLE t DROP COLUMN n"},
	{SQL: "ALTER TABLE t RENAME COLUMN n TO m"},
	{SQL: "ALTER TABLE t ALTER COLUMN n SET DEFAULT 1"},
	{SQL: "ALTER TABLE t ALTER COLUMN n DROP NOT NULL"},
	{SQL: "ALTER TABLE t ALTER COLUMN n SET NOT NULL", Safe: "a validated CHECK (n IS NOT NULL) before"},
	{Before: "ALTER TABLE t ADD CONSTRAINT c CHECK (n IS NOT NULL)", SQL: "ALTER TABLE t ALTER COLUMN n SET NOT NULL -- after a validated CHECK (n IS NOT NULL)"},
	{Since: 18, SQL: "ALTER TABLE t ADD CONSTRAINT c NOT NULL n NOT VALID"},
	{Since: 18, Before: "ALTER TABLE t ADD CONSTRAINT c NOT NULL n NOT VALID", SQL: "ALTER TABLE t VALIDATE CONSTRAINT c -- a NOT NULL"},
	{Since: 18, SQL: "ALTER TABLE t ADD COLUMN x integer GENERATED ALWAYS AS (n + 1) VIRTUAL"},
	{SQL: "ALTER TABLE t ALTER COLUMN n TYPE bigint", Safe: "a new column, kept equal by a trigger and filled in batches"},
	{SQL: "ALTER TABLE t ALTER COLUMN code TYPE varchar(20)"},
	{SQL: "ALTER TABLE t ALTER COLUMN code TYPE text"},
	{SQL: "ALTER TABLE t ALTER COLUMN code TYPE varchar(8)", Safe: "a CHECK on the length, NOT VALID, then VALIDATE"},
	{SQL: "ALTER TABLE t ALTER COLUMN amount TYPE numeric(12, 2)"},
	{SQL: "ALTER TABLE t ALTER COLUMN amount TYPE numeric(12, 4)", Safe: "a new column, kept equal by a trigger and filled in batches"},
	{SQL: "ALTER TABLE t ALTER COLUMN n SET STATISTICS 500"},
	{SQL: "ALTER TABLE t ALTER COLUMN label SET STORAGE EXTERNAL"},
	{SQL: "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0)", Safe: "NOT VALID, then VALIDATE"},
	{SQL: "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID"},
	{Before: "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID", SQL: "ALTER TABLE t VALIDATE CONSTRAINT c -- a CHECK"},
	{SQL: "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (other_id) REFERENCES other", Safe: "NOT VALID, then VALIDATE"},
	{SQL: "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (other_id) REFERENCES other NOT VALID"},
	{Before: "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (other_id) REFERENCES other NOT VALID", SQL: "ALTER TABLE t VALIDATE CONSTRAINT f -- a foreign key"},
	{SQL: "ALTER TABLE t ADD CONSTRAINT u UNIQUE (n)", Safe: "a unique index CONCURRENTLY, then ADD CONSTRAINT USING INDEX"},
	{Before: "CREATE UNIQUE INDEX i ON t (n)", SQL: "ALTER TABLE t ADD CONSTRAINT u UNIQUE USING INDEX i"},
	{Before: "ALTER TABLE t DROP CONSTRAINT t_pkey", SQL: "ALTER TABLE t ADD PRIMARY KEY (id)", Safe: "a unique index CONCURRENTLY, then ADD CONSTRAINT USING INDEX"},
	{SQL: "ALTER TABLE t DROP CONSTRAINT t_pkey"},
	{Before: "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (other_id) REFERENCES other", SQL: "ALTER TABLE t DROP CONSTRAINT f -- a foreign key"},
	{SQL: "ALTER TABLE t RENAME TO s"},
	{SQL: "ALTER TABLE t SET (fillfactor = 70)"},
	{SQL: "ALTER TABLE t SET UNLOGGED", Safe: "a new table, filled in batches"},
	{SQL: "ALTER TABLE t ENABLE ROW LEVEL SECURITY"},
	{SQL: "ALTER TABLE t REPLICA IDENTITY FULL"},
	{Before: "CREATE TABLE p (id bigint NOT NULL, n integer, code varchar(10), amount numeric(8, 2), at timestamptz, other_id bigint, label text) PARTITION BY RANGE (id)", SQL: "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (0) TO (10000)", Safe: "a validated CHECK equal to the bounds before"},
	{Before: "CREATE TABLE p (id bigint NOT NULL, n integer, code varchar(10), amount numeric(8, 2), at timestamptz, other_id bigint, label text) PARTITION BY RANGE (id); ALTER TABLE t ADD CONSTRAINT c CHECK (id >= 0 AND id < 10000)", SQL: "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (0) TO (10000) -- after a validated CHECK"},
	{Before: "CREATE TABLE p (id bigint NOT NULL, n integer, code varchar(10), amount numeric(8, 2), at timestamptz, other_id bigint, label text) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (0) TO (10000)", SQL: "ALTER TABLE p DETACH PARTITION t", Safe: "DETACH PARTITION CONCURRENTLY"},
	{Before: "CREATE TABLE p (id bigint NOT NULL, n integer, code varchar(10), amount numeric(8, 2), at timestamptz, other_id bigint, label text) PARTITION BY RANGE (id); ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (0) TO (10000)", SQL: "ALTER TABLE p DETACH PARTITION t CONCURRENTLY", NoTx: true},
	{SQL: "CREATE TABLE new (id bigint PRIMARY KEY, t_id bigint REFERENCES t)"},
	{Before: "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", SQL: "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"},
	{Before: "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", SQL: "DROP TRIGGER g ON t"},
	{SQL: "CREATE VIEW v AS SELECT * FROM t"},
	{SQL: "CREATE MATERIALIZED VIEW m AS SELECT * FROM t"},
	{SQL: "CREATE STATISTICS s ON n, code FROM t"},
	{SQL: "COMMENT ON TABLE t IS 'x'"},
	{SQL: "GRANT SELECT ON t TO PUBLIC"},
	{SQL: "CREATE POLICY p ON t USING (true)"},
	{SQL: "TRUNCATE t"},
	{SQL: "DROP TABLE t"},
	{SQL: "CLUSTER t USING t_pkey", Safe: "pg_repack"},
	{SQL: "VACUUM FULL t", NoTx: true, Safe: "pg_repack"},
	{SQL: "VACUUM t", NoTx: true},
	{SQL: "ANALYZE t"},
	{SQL: "UPDATE t SET n = 1"},
}

// Measure runs a statement of the table on a server.
func (c Common) Measure(ctx context.Context, server *scratch.Server) (Measured, error) {
	url, err := server.Create(ctx)
	if err != nil {
		return Measured{}, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return Measured{}, err
	}
	_, err = conn.PgConn().Exec(ctx, commonBase+c.Before).ReadAll()
	_ = conn.Close(ctx) // of a scratch database
	if err != nil {
		return Measured{}, fmt.Errorf("%s: %w", c.Before, err)
	}
	list, err := run(ctx, url, []Statement{{SQL: c.SQL}}, c.NoTx)
	if err != nil {
		return Measured{}, fmt.Errorf("%s: %w", c.SQL, err)
	}
	return list[0], nil
}

// Row formats the measurements in the columns of the table: the locks, and the work
// during which they are held.
func (m Measured) Row() (locks, work string) {
	var held []string
	for _, table := range []string{"t", "p", "other", "t_code_idx"} {
		if mode := m.Locks["public."+table]; mode != "" {
			if table != "t" {
				mode += " on " + table
			}
			held = append(held, mode)
		}
	}
	var done []string
	if slices.Contains(m.Rewritten, "public.t") {
		done = append(done, "rewrites")
	}
	if len(m.Built) > 0 && len(done) == 0 {
		done = append(done, "builds an index")
	}
	if m.Read["public.t"] > 0 && len(done) == 0 {
		done = append(done, "reads all rows")
	}
	if len(held) == 0 {
		held = []string{"none"}
	}
	if len(done) == 0 {
		done = []string{"–"}
	}
	return strings.Join(held, ", "), strings.Join(done, ", ")
}

package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/pgtest"
)

// driftSchema has an object of each kind that drift compares.
const driftSchema = `-- +goose Up
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE DOMAIN app.email AS text CONSTRAINT email_at CHECK (VALUE LIKE '%@%');
CREATE TYPE app.point3 AS (x int, y int, z int);
CREATE SEQUENCE app.tickets START WITH 100;
CREATE TABLE app.users (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL,
    mail  app.email,
    mood  app.mood NOT NULL DEFAULT 'happy',
    age   int CHECK (age >= 0),
    upper text GENERATED ALWAYS AS (upper(name)) STORED,
    at    app.point3,
    CONSTRAINT users_name_key UNIQUE (name)
);
CREATE TABLE app.posts (
    id      serial PRIMARY KEY,
    user_id bigint NOT NULL,
    body    text NOT NULL DEFAULT '',
    CONSTRAINT posts_user_fkey FOREIGN KEY (user_id) REFERENCES app.users
);
ALTER TABLE app.posts ADD CONSTRAINT posts_body_short CHECK (length(body) < 1000) NOT VALID;
CREATE INDEX posts_user_idx ON app.posts (user_id);
CREATE INDEX users_mood_idx ON app.users (mood) WHERE age > 18;
CREATE TABLE app.events (id bigint, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX events_at_idx ON app.events (at);
CREATE VIEW app.adults AS SELECT id, name FROM app.users WHERE age >= 18;
CREATE MATERIALIZED VIEW app.counts AS SELECT user_id, count(*) AS n FROM app.posts GROUP BY user_id;
CREATE UNIQUE INDEX counts_user_idx ON app.counts (user_id);
-- +goose StatementBegin
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER posts_touch BEFORE UPDATE ON app.posts FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.users USING (name = current_user);
CREATE RULE quiet AS ON DELETE TO app.adults DO INSTEAD NOTHING;
CREATE STATISTICS app.users_stats ON mood, age FROM app.users;
-- +goose Down
DROP SCHEMA app CASCADE;
`

// apply runs statements on a database by hand.
func apply(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// objects returns the comment lines of drift's output, cut after the name of the object.
func objects(out string) (list []string) {
	for line := range strings.Lines(out) {
		if text, ok := strings.CutPrefix(line, "-- "); ok && !strings.HasPrefix(text, "No drift") {
			list = append(list, strings.TrimSpace(text))
		}
	}
	return list
}

// notNullLater is the NOT NULL that does not read the table, in the form that the server has.
const notNullLater = `DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'ALTER TABLE app.users ADD CONSTRAINT users_age_set NOT NULL age NOT VALID';
    ELSE
        ALTER TABLE app.users ADD CONSTRAINT users_age_set CHECK (age IS NOT NULL) NOT VALID;
    END IF;
END $$`

func TestDrift(t *testing.T) {
	t.Parallel()
	dir := writeMigrations(t, map[string]string{"00001_create_app.sql": driftSchema})
	for name, tt := range map[string]struct {
		by   []string // statements that were run by hand
		want []string // the beginning of each line
	}{
		"Nothing":        {},
		"TableExtra":     {[]string{"CREATE TABLE app.notes (id int PRIMARY KEY)"}, []string{"table app.notes: not in the migrations: dropping it deletes its data"}},
		"TableDropped":   {[]string{"DROP TABLE app.posts CASCADE"}, []string{"table app.posts: missing in the database", "materialized view app.counts: missing"}},
		"TableUnlogged":  {[]string{"ALTER TABLE app.posts SET UNLOGGED"}, []string{"table app.posts: unlogged is true, the migrations give false"}},
		"ColumnExtra":    {[]string{"ALTER TABLE app.posts ADD COLUMN seen bool"}, []string{"column app.posts.seen: not in the migrations"}},
		"ColumnDropped":  {[]string{"ALTER TABLE app.posts DROP COLUMN body"}, []string{"column app.posts.body: missing", "constraint app.posts.posts_body_short: missing"}},
		"ColumnRenamed":  {[]string{"ALTER TABLE app.users RENAME COLUMN age TO years"}, []string{"column app.users.years: not in", "column app.users.age: missing", "view app.adults: definition is", "constraint app.users.users_age_check: definition is CHECK ((years >= 0))", "index app.users_mood_idx: definition is", "statistics app.users_stats: definition is"}},
		"ColumnType":     {[]string{"ALTER TABLE app.posts ALTER COLUMN id TYPE bigint"}, []string{"column app.posts.id: type is bigint, the migrations give integer"}},
		"ColumnNotNull":  {[]string{"ALTER TABLE app.users ALTER COLUMN age SET NOT NULL"}, []string{"column app.users.age: not null is true, the migrations give false"}},
		"ColumnNullable": {[]string{"ALTER TABLE app.users ALTER COLUMN mood DROP NOT NULL"}, []string{"column app.users.mood: not null is false, the migrations give true"}},
		"Default":        {[]string{"ALTER TABLE app.posts ALTER COLUMN body SET DEFAULT 'x'"}, []string{"column app.posts.body: default is 'x'::text, the migrations give ''::text"}},
		"DefaultDropped": {[]string{"ALTER TABLE app.users ALTER COLUMN mood DROP DEFAULT"}, []string{"column app.users.mood: default is none, the migrations give 'happy'::app.mood"}},
		"Identity":       {[]string{"ALTER TABLE app.users ALTER COLUMN id SET GENERATED BY DEFAULT"}, []string{"column app.users.id: identity is BY DEFAULT, the migrations give ALWAYS"}},
		"Generated":      {[]string{"ALTER TABLE app.users ALTER COLUMN upper DROP EXPRESSION"}, []string{"column app.users.upper: generated is none"}},
		"Collation":      {[]string{`ALTER TABLE app.posts ALTER COLUMN body TYPE text COLLATE "C"`}, []string{`column app.posts.body: collation is "C", the migrations give none`}},
		"CheckDropped":   {[]string{"ALTER TABLE app.users DROP CONSTRAINT users_age_check"}, []string{"constraint app.users.users_age_check: missing"}},
		"CheckChanged":   {[]string{"ALTER TABLE app.users DROP CONSTRAINT users_age_check, ADD CONSTRAINT users_age_check CHECK (age > 0)"}, []string{"constraint app.users.users_age_check: definition is CHECK ((age > 0)), the migrations give CHECK ((age >= 0))"}},
		"NotValid":       {[]string{"ALTER TABLE app.posts DROP CONSTRAINT posts_user_fkey, ADD CONSTRAINT posts_user_fkey FOREIGN KEY (user_id) REFERENCES app.users NOT VALID"}, []string{"constraint app.posts.posts_user_fkey: NOT VALID: "}},
		"NotNullLater":   {[]string{notNullLater}, []string{"constraint app.users.users_age_set: not in the migrations"}},
		"Validated":      {[]string{"ALTER TABLE app.posts VALIDATE CONSTRAINT posts_body_short"}, []string{"constraint app.posts.posts_body_short: validated is true, the migrations give false"}},
		"UniqueDropped":  {[]string{"ALTER TABLE app.users DROP CONSTRAINT users_name_key"}, []string{"constraint app.users.users_name_key: missing"}},
		"IndexDropped":   {[]string{"DROP INDEX app.posts_user_idx"}, []string{"index app.posts_user_idx: missing"}},
		"IndexExtra":     {[]string{"CREATE INDEX CONCURRENTLY by_hand ON app.posts (body)"}, []string{"index app.by_hand: not in the migrations"}},
		"IndexPredicate": {[]string{"DROP INDEX app.users_mood_idx", "CREATE INDEX users_mood_idx ON app.users (mood)"}, []string{"index app.users_mood_idx: definition is"}},
		"PartitionIndex": {[]string{"DROP INDEX app.events_at_idx"}, []string{"index app.events_at_idx: missing"}},
		"Partition":      {[]string{"ALTER TABLE app.events DETACH PARTITION app.events_2025"}, []string{"table app.events_2025: partition of is none, the migrations give app.events FOR VALUES"}},
		"View":           {[]string{"CREATE OR REPLACE VIEW app.adults AS SELECT id, name FROM app.users WHERE age >= 21"}, []string{"view app.adults: definition is"}},
		"MatviewDropped": {[]string{"DROP MATERIALIZED VIEW app.counts"}, []string{"materialized view app.counts: missing"}},
		"Function":       {[]string{"CREATE OR REPLACE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"}, []string{"function app.touch(): definition is"}},
		"FunctionExtra":  {[]string{"CREATE FUNCTION app.one() RETURNS int LANGUAGE sql AS 'SELECT 1'"}, []string{"function app.one(): not in the migrations"}},
		"TriggerDropped": {[]string{"DROP TRIGGER posts_touch ON app.posts"}, []string{"trigger app.posts.posts_touch: missing"}},
		"TriggerOff":     {[]string{"ALTER TABLE app.posts DISABLE TRIGGER posts_touch"}, []string{"trigger app.posts.posts_touch: enabled is no, the migrations give yes"}},
		"EnumValue":      {[]string{"ALTER TYPE app.mood ADD VALUE 'glad' BEFORE 'happy'"}, []string{"enum app.mood: labels is 'sad', 'glad', 'happy', the migrations give 'sad', 'happy'"}},
		"Domain":         {[]string{"ALTER DOMAIN app.email SET NOT NULL"}, []string{"domain app.email: not null is true"}},
		"DomainCheck":    {[]string{"ALTER DOMAIN app.email DROP CONSTRAINT email_at"}, []string{"constraint app.email.email_at: missing"}},
		"Composite":      {[]string{"ALTER TYPE app.point3 RENAME ATTRIBUTE z TO h"}, []string{"composite type app.point3: attributes is x integer, y integer, h integer"}},
		"Sequence":       {[]string{"ALTER SEQUENCE app.tickets INCREMENT BY 10"}, []string{"sequence app.tickets: increment is 10, the migrations give 1"}},
		"IdentityOption": {[]string{"ALTER TABLE app.users ALTER COLUMN id SET INCREMENT BY 2"}, []string{"identity app.users.id: increment is 2, the migrations give 1"}},
		"SchemaExtra":    {[]string{"CREATE SCHEMA other"}, []string{"schema other: not in the migrations"}},
		"RowSecurity":    {[]string{"ALTER TABLE app.users DISABLE ROW LEVEL SECURITY"}, []string{"table app.users: row security is off, the migrations give enabled"}},
		"Policy":         {[]string{"ALTER POLICY own ON app.users USING (true)"}, []string{"policy app.users.own: definition is"}},
		"Rule":           {[]string{"DROP RULE quiet ON app.adults"}, []string{"rule app.adults.quiet: missing"}},
		"Statistics":     {[]string{"DROP STATISTICS app.users_stats"}, []string{"statistics app.users_stats: missing"}},
		"PublicGrant":    {[]string{"GRANT SELECT ON app.users TO PUBLIC"}, []string{"grant SELECT ON TABLE app.users TO PUBLIC: not in the migrations"}},
		// Allowed differences: rows, statistics, the position of a sequence, the runtime's tables.
		"Rows": {by: []string{
			"INSERT INTO app.users (name) VALUES ('ann')", "ANALYZE", "SELECT nextval('app.tickets')", "ALTER SEQUENCE app.tickets RESTART WITH 7",
			"REINDEX INDEX app.posts_user_idx", "CLUSTER app.posts USING posts_user_idx",
		}},
		"SameByAnotherWay": {by: []string{
			"ALTER TABLE app.posts DROP COLUMN body", "ALTER TABLE app.posts ADD COLUMN body text NOT NULL DEFAULT ''",
			"ALTER TABLE app.posts ADD CONSTRAINT posts_body_short CHECK (length(body) < 1000) NOT VALID",
			"ALTER SEQUENCE app.users_id_seq RENAME TO y", "ALTER INDEX app.posts_user_idx RENAME TO x", "CREATE INDEX CONCURRENTLY posts_user_idx ON app.posts USING btree (user_id)", "DROP INDEX app.x",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t, os.DirFS(dir))
			apply(t, url, tt.by...)
			args := []string{"drift", "--database", url, "--migrations", dir, "--scratch", pgtest.EmptyURL(t)}
			code, out, errs := quern(args...)
			got := objects(out)
			matches := func(line, prefix string) bool { return strings.HasPrefix(line, prefix) }
			if !slices.EqualFunc(got, tt.want, matches) {
				t.Errorf("drift:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if want := map[bool]int{true: exitFailure}[len(tt.want) > 0]; code != want {
				t.Errorf("exit %d, want %d: %s", code, want, errs)
			}
			if len(tt.want) == 0 || t.Failed() || slices.Contains(notFixable, name) {
				return
			}
			// The printed statements remove the drift.
			apply(t, url, statementsOf(out)...)
			if code, again, errs := quern(args...); code != exitSuccess {
				t.Errorf("after %q:\n%s%s", out, again, errs)
			}
		})
	}
}

// notFixable are the differences that no statement removes in place.
var notFixable = []string{"EnumValue", "Composite", "Validated", "ColumnRenamed"}

// statementsOf returns the statements of drift's output.
func statementsOf(out string) (list []string) {
	var sql strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "-- ") {
			sql.WriteString(line)
		}
	}
	for s := range strings.SplitSeq(sql.String(), ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			if n := len(list); n > 0 && strings.Count(list[n-1], "$")%4 != 0 {
				list[n-1] += ";\n" + s
				continue
			}
			list = append(list, s)
		}
	}
	return list
}

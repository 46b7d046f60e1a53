#!/usr/bin/env bash
# DuckDB: the same times have a zone when they are read from CSV, and none when they are read from JSON.
#
# Versions: DuckDB 1.5.6 (npm @duckdb/node-api 1.5.6-r.1).
# Expected: read_csv and read_json infer the same type from the same text, and what COPY writes has the instant that was read.
# Seen: read_csv infers TIMESTAMP WITH TIME ZONE for 2024-04-20T04:01:34+05:30. read_json infers TIMESTAMP: it converts to UTC and forgets
#   that it did, so that COPY writes 2024-04-19 22:31:34 without a zone, and so does a JSON file written with FORMAT json.
# Why it matters: the program that reads the copy interprets the times as local ones. A table of types given by hand
#   (columns = {moment: 'TIMESTAMPTZ'}) keeps the instant. Lists have a loss of their own kind: COPY to CSV writes [weather, databases],
#   which is no JSON and cannot be read as any.
# Output:
#   read_csv:  TIMESTAMP WITH TIME ZONE, written as 2024-04-19 22:31:34+00
#   read_json: TIMESTAMP, written as 2024-04-19 22:31:34
#   read_json with columns: TIMESTAMP WITH TIME ZONE, written as 2024-04-19 22:31:34+00
#   a list in CSV: "[weather, databases]"
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund @duckdb/node-api@1.5.6-r.1
printf 'moment\n2024-04-20T04:01:34+05:30\n' >in.csv
printf '{"moment":"2024-04-20T04:01:34+05:30","tags":["weather","databases"]}\n' >in.ndjson
cat >main.mjs <<'JS'
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";
const c = await (await DuckDBInstance.create(":memory:")).connect();
await c.run("SET TimeZone = 'UTC'");
const copied = async (from, column) => {
  const type = (await c.runAndReadAll(`SELECT typeof(${column}) AS t FROM ${from}`)).getRowObjectsJson()[0].t;
  await c.run(`COPY (SELECT ${column} FROM ${from}) TO 'out.csv' (HEADER false)`);
  return [type, readFileSync("out.csv", "utf8").trim()];
};
const csv = await copied("read_csv('in.csv')", "moment");
const json = await copied("read_json('in.ndjson')", "moment");
const typed = await copied("read_json('in.ndjson', columns = {moment: 'TIMESTAMPTZ'})", "moment");
const list = await copied("read_json('in.ndjson')", "tags");
console.log(`read_csv:  ${csv[0]}, written as ${csv[1]}`);
console.log(`read_json: ${json[0]}, written as ${json[1]}`);
console.log(`read_json with columns: ${typed[0]}, written as ${typed[1]}`);
console.log(`a list in CSV: ${list[1]}`);
process.exit(/\+00/.test(csv[1]) && !/\+/.test(json[1]) && /\+00/.test(typed[1]) && list[1] === '"[weather, databases]"' ? 0 : 1);
JS
node main.mjs || { echo "the behaviour has changed" >&2; exit 1; }

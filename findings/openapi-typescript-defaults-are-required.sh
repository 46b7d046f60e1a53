#!/usr/bin/env bash
# openapi-typescript: a member of a request body that has a default must be sent, as the generated type says.
#
# Versions: openapi-typescript 7.13.0, TypeScript 5.9.3.
# Expected: a property that the schema does not list in required may be left out of the request, above all one with a default, which is
#   the value that the server then uses.
# Seen: {limit: integer, default: 10} becomes "limit: number", and the call without it does not compile. A property without a default
#   becomes "name?: string". With --default-non-nullable=false both may be left out. For an answer the type is right.
# Why it matters: giving a property a default, which breaks no client on the wire, breaks the build of each client in TypeScript.
# Output:
#   generated: Property 'limit' is missing in type '{}' but required in type '{ limit: number; name?: string | undefined; }'.
#   with --default-non-nullable=false: compiles
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --silent --no-audit --no-fund openapi-typescript@7.13.0 typescript@5.9.3
cd "$dir"
cat >openapi.yaml <<'YAML'
openapi: 3.1.0
info: {title: claims, version: "1"}
paths:
  /claims:
    post:
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Claim"}}}}
      responses: {"204": {description: done}}
components:
  schemas:
    Claim:
      type: object
      properties:
        limit: {type: integer, default: 10}
        name: {type: string}
YAML
cat >main.ts <<'TS'
import type { components } from "./api";
export const claim: components["schemas"]["Claim"] = {};
TS
# compiled [OPTION] prints the compiler's first complaint about the empty claim.
compiled() {
	node_modules/.bin/openapi-typescript openapi.yaml -o api.ts "$@" >/dev/null 2>&1
	node_modules/.bin/tsc --strict --noEmit --skipLibCheck main.ts >tsc.log && echo compiles && return
	sed -n 's/.*error TS[0-9]*: //p' tsc.log | head -1
}
plain=$(compiled)
optional=$(compiled --default-non-nullable=false)
echo "generated: $plain"
echo "with --default-non-nullable=false: $optional"
[[ $plain == *"'limit' is missing"* && $optional == compiles ]] || { echo "the behaviour has changed" >&2; exit 1; }

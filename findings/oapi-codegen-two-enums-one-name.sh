#!/usr/bin/env bash
# oapi-codegen: an enum value and the type of a property get the same name, so the generated package does not compile.
#
# Versions: oapi-codegen 2.8.2, Go 1.26.
# Expected: the code for a valid document compiles, or the generator refuses it. With output-options.resolve-type-name-collisions it
#   finds other names.
# Seen: the value "task_status" of the enum ErrorCode becomes the constant TaskStatus, and the inline enum of the property status of Task
#   the type TaskStatus. The generator exits 0, with the option, too. With compatibility.always-prefix-enum-values the code compiles.
# Why it matters: error codes are often named after the field that they are about. The generator names the cause nowhere.
# Output:
#   plain: TaskStatus redeclared in this block
#   resolve-type-name-collisions: TaskStatus redeclared in this block
#   always-prefix-enum-values: compiles
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
GOBIN=$dir CGO_ENABLED=0 go install github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2
cd "$dir"
cat >openapi.yaml <<'YAML'
openapi: 3.0.3
info: {title: tasks, version: "1"}
paths:
  /tasks:
    get:
      operationId: listTasks
      responses:
        "200": {description: ok, content: {application/json: {schema: {$ref: "#/components/schemas/Task"}}}}
        default: {description: error, content: {application/json: {schema: {$ref: "#/components/schemas/Error"}}}}
components:
  schemas:
    ErrorCode: {type: string, enum: [not_found, task_status]}
    Error: {type: object, required: [code], properties: {code: {$ref: "#/components/schemas/ErrorCode"}}}
    Task: {type: object, required: [status], properties: {status: {type: string, enum: [pending, running]}}}
YAML
# compiled OPTIONS prints the compiler's first complaint about the package that the options give.
compiled() {
	rm -rf gen && mkdir gen
	printf 'package: gen\ngenerate: {models: true}\noutput: gen/gen.go\n%s\n' "$1" >config.yaml
	./oapi-codegen -config config.yaml openapi.yaml >/dev/null 2>generator.log || fail "the generator refuses: $(head -1 generator.log)"
	printf 'module gen\n\ngo 1.26\n' >gen/go.mod
	if (cd gen && go build ./... >../build.log 2>&1); then
		echo compiles
	else
		grep -o '[A-Za-z]* redeclared in this block' build.log | head -1
	fi
}
plain=$(compiled '')
resolved=$(compiled 'output-options: {resolve-type-name-collisions: true}')
prefixed=$(compiled 'compatibility: {always-prefix-enum-values: true}')
echo "plain: $plain"
echo "resolve-type-name-collisions: $resolved"
echo "always-prefix-enum-values: $prefixed"
[[ $plain == "TaskStatus redeclared in this block" && $resolved == "$plain" && $prefixed == compiles ]] || fail "see above"

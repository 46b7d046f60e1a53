# The commands for this repository. `make` without a target lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# git gives no version of a clone that belongs to another user. That is no reason to fail
# a build.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)

# The tools are pinned in a separate module, because their dependencies conflict with the
# server's.
TOOL := go tool -modfile=tools/go.mod

# The pinned sqlc, compiled once. Its parser of PostgreSQL is C, which takes a third of the
# time without optimization and generates as fast (docs/decisions.md).
PINNED_SQLC := $(CURDIR)/bin/sqlc
$(PINNED_SQLC): tools/go.mod tools/go.sum
	@echo "make: compiling sqlc: about a minute, the first time" >&2
	@CGO_CFLAGS="-O0 -g0" go build -modfile=tools/go.mod -o $@ github.com/sqlc-dev/sqlc/cmd/sqlc

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-22s %s\n", ($$1 == "migration" ? "migration name=NAME" : $$1), $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## Build and serve; without DATABASE_URL, start a PostgreSQL in ./.data
	@exec bin/server

.PHONY: test
test: ## Run every test, databases included
	@race=-race; command -v "$$(go env CC)" >/dev/null || { race=; \
		echo "make test: no C compiler ($$(go env CC)), so without the race detector: install gcc"; }; \
	set -x; go test $$race ./... && cd tools/browser && go test $$race ./... && cd ../../examples/bookshop && go test $$race ./... && \
	cd ../../tools && go test ./rename ./prose && cd ../cmd/quern && go test $$race ./...

.PHONY: faults
faults: ## Run the fault tests in their long form, more than an hour
	QUERN_FAULTS=long go test -race -v -timeout 180m ./internal/faults

.PHONY: mutate
mutate: $(PINNED_SQLC) ## Break the code on purpose and check that the tests fail, such as only=TestInTx
	@export SQLC="$(PINNED_SQLC)" && cd tools && go run ./mutate $(only)

# The folders that sqlc writes: the service's, the one of the runtime's tests, and the one
# of the example project.
GENERATED := internal/db postgres/testdata/db examples/bookshop/db

# The modules besides the main one.
MODULES := bench tools tools/browser examples/bookshop cmd/quern

# The sqlc that generates. .ci/sqlc-main sets another one.
SQLC_COMMAND = $(PINNED_SQLC)

# Generates into a copy, $$copy, so that $(GENERATED) stay unchanged if a statement is
# refused, or if the result is only compared. It starts empty, because sqlc never deletes.
GENERATE := copy="$$(mktemp -d)" && trap 'rm -rf "$$copy"' EXIT && \
	mkdir -p "$$copy/cmd" "$$copy/internal" "$$copy/postgres/testdata" "$$copy/examples" && cp -R go.mod go.sum sqlc.yaml migrations queries tools "$$copy" && \
	cp -R cmd/sqlc-gen-quern "$$copy/cmd" && cp -R internal/pgproc "$$copy/internal" && \
	cp -R postgres/testdata/sqlc.yaml postgres/testdata/migrations postgres/testdata/queries "$$copy/postgres/testdata" && \
	cp -R examples/bookshop "$$copy/examples" && rm -rf "$$copy/examples/bookshop/db" && \
	(cd "$$copy" && sqlc="$(SQLC_COMMAND)" && $$sqlc generate && cd postgres/testdata && $$sqlc generate && \
		cd ../../examples/bookshop && $$sqlc generate)

.PHONY: generate
generate: $(filter $(PINNED_SQLC),$(SQLC_COMMAND)) ## Generate internal/db and the other generated folders from queries/ and migrations/
	@$(GENERATE) && rm -rf $(GENERATED) && for d in $(GENERATED); do cp -R "$$copy/$$d" "$$d" || exit; done

.PHONY: verify
verify: lint tidy generated ## Check formatting, lint, go.mod and generated code

# The release with which `make gates` compares: the commit before this one.
BASE ?= HEAD~1

.PHONY: gates
gates: quern ## Check the statements: risks, plans, and whether those of BASE=HEAD~1 run on this schema
	@for d in . examples/bookshop; do (cd $$d && quern="$(CURDIR)/bin/quern" && $$quern vet && $$quern plans && \
		{ ! git rev-parse -q --verify "$(BASE)^{commit}" >/dev/null || $$quern compat "$(BASE)"; }) || exit; done

# The code that ent generates for the bench is not committed, because it is larger than
# the bench.
ENT := bench/internal/peer/ent
$(ENT)/client.go: $(ENT)/generate.go $(ENT)/schema/schema.go
	@cd bench && go generate ./internal/peer/ent && touch internal/peer/ent/client.go

.PHONY: lint
lint: $(ENT)/client.go ## Check formatting, go vet (Linux and macOS), staticcheck and the English
	@unformatted="$$($(TOOL) gofumpt -modpath "$$(go list -m)" -l .)" || exit; [ -z "$$unformatted" ] || \
		{ echo "make lint: not formatted: run '$(TOOL) gofumpt -modpath $$(go list -m) -w .':" $$unformatted >&2; exit 1; }
	go run ./cmd/server migrate check
	go vet ./... ./postgres/testdata
	GOOS=darwin go vet ./... ./postgres/testdata
	$(TOOL) staticcheck ./... ./postgres/testdata
	cd bench && go vet ./...
	cd bench && GOOS=darwin go vet ./...
	cd bench && go tool -modfile=../tools/go.mod staticcheck ./...
	cd tools/browser && go vet ./... && go tool -modfile=../go.mod staticcheck ./...
	cd examples/bookshop && go vet ./... && go tool -modfile=../../tools/go.mod staticcheck ./...
	cd cmd/quern && go vet ./... && GOOS=darwin go vet ./... && go tool -modfile=../../tools/go.mod staticcheck ./...
	cd tools && go vet ./mutate ./rename ./prose && go tool staticcheck ./mutate ./rename ./prose && go test -count=1 ./mutate && go run ./mutate -list >/dev/null
	@$(MAKE) --no-print-directory prose

# The files whose English is checked: those that git knows or would add, without
# what sqlc writes and the words that tools/prose counts.
PROSE = git ls-files -z --cached --others --exclude-standard -- '*.go' '*.md' '*.sql' ':(exclude,glob)**/db/*.go' ':(exclude)tools/prose'
VALE = go tool -modfile=tools/go.mod vale --no-global --config=tools/vale/.vale.ini --output=line

.PHONY: prose
prose: ## Check the English, and compare the comments with river, pgx and goose, such as rooms=postgres/...
	@command -v "$$(go env CC)" >/dev/null || { echo "make prose: no C compiler ($$(go env CC)), which vale needs: install gcc" >&2; exit 1; }
	@$(VALE) test tools/vale/styles
	@cd tools && go run ./prose -check $(rooms)
	@$(PROSE) | xargs -0 $(VALE)

.PHONY: prose-models
prose-models: ## Try the rules on the files of river, pgx and goose, where they must stay nearly silent
	@cd tools && go run ./prose -models | (cd .. && xargs $(VALE) --no-exit)

.PHONY: tidy
tidy: $(ENT)/client.go
	@for module in . $(MODULES); do (cd $$module && go mod tidy -diff) || \
		{ echo "make verify: $$module/go.mod is not tidy: run 'cd $$module && go mod tidy'" >&2; exit 1; }; done

.PHONY: generated
generated: $(filter $(PINNED_SQLC),$(SQLC_COMMAND))
	@$(GENERATE) && for d in $(GENERATED); do diff -r "$$copy/$$d" "$$d" || \
		{ echo "make verify: $$d differs from its queries/ and migrations/: run 'make generate'" >&2; exit 1; }; done

.PHONY: bench
bench: $(ENT)/client.go ## Compare Quern with its peers and write docs/benchmarks.md, about ten minutes
	@cd bench && go run .

.PHONY: bench-smoke
bench-smoke: $(ENT)/client.go ## Run every peer and workload of the bench once, and compare the answers
	@cd bench && go test ./... && go run . -smoke

.PHONY: vuln
vuln: ## Check for known vulnerabilities (needs vuln.go.dev)
	$(TOOL) govulncheck ./...

.PHONY: demo
demo: build ## Load Debian's package index through the API and check every count
	@go run ./cmd/demo bin/server

.PHONY: cluster
cluster: ## Start three PostgreSQL servers under Patroni, such as haproxy=1 pgbouncer=1 keep=DIR
	@go build -o bin/cluster ./cmd/cluster
	@exec bin/cluster $(if $(haproxy),-haproxy) $(if $(pgbouncer),-pgbouncer) $(if $(keep),-keep "$(keep)")

.PHONY: rename
rename: ## Change the module's path, such as module=example.com/acme/data
	@cd tools && go run ./rename "$(module)"

.PHONY: migration
migration: ## Write an empty migration, such as name=add_posts_index
	@[ -n "$(name)" ] || { echo "make migration: give it a name: make migration name=add_posts_index" >&2; exit 2; }
	@go run ./cmd/server migrate create "$(name)"

.PHONY: sum
sum: ## Write migrations.sum, by which an edited migration is found
	@go run ./cmd/server migrate sum

# The developer's tool, a module of its own.
.PHONY: quern
quern: ## Build bin/quern, the developer's tool: drift, diff, rehearse, compat, plans, vet and more
	@go -C cmd/quern build -o ../../bin/quern .

.PHONY: scaffold
scaffold: ## Write the code of a noun from a table, such as table=comments
	@[ -n "$(table)" ] || { echo "make scaffold: name the table: make scaffold table=comments" >&2; exit 2; }
	@$(MAKE) --no-print-directory quern
	@bin/quern scaffold --table "$(table)" $(if $(noun),--noun "$(noun)")

.PHONY: new
new: ## Write a project of your own, such as dir=../shop module=example.com/shop noun=order
	@missing="$(strip $(if $(dir),,dir=) $(if $(module),,module=) $(if $(noun),,noun=))"; [ -z "$$missing" ] || \
		{ echo "make new: missing $$missing: make new dir=../shop module=example.com/shop noun=order" >&2; exit 2; }
	@$(MAKE) --no-print-directory quern
	@bin/quern new --dir "$(dir)" --module "$(module)" --noun "$(noun)"

# The clients of the API are generated from the server's own document, and not committed.
# tools/client has what is copied beside the generated code, with the pinned versions.
.PHONY: client
client: ## Write clients of the API in TypeScript and Go to clients, such as out=../shop/clients lang=ts
	@case "$(lang)" in ""|ts|go) ;; *) echo "make client: unknown lang $(lang): use ts or go, or none for both" >&2; exit 2 ;; esac
	@[ "$(lang)" = go ] || command -v npm >/dev/null || { echo "make client: npm is not installed, which the TypeScript client needs:" \
		"run apt-get install npm (Debian) or brew install node (macOS), or make client lang=go for the Go client alone" >&2; exit 1; }
	@set -e; out="$(or $(out),clients)"; mkdir -p "$$out"; out="$$(cd "$$out" && pwd)"; \
	go run -trimpath -ldflags "-X main.release=$(VERSION)" ./cmd/server openapi >"$$out/openapi.json"; \
	if [ "$(lang)" != ts ]; then \
		mkdir -p "$$out/go"; cp tools/client/go/go.sum "$$out/go"; \
		sed "1s|.*|module $(or $(module),$$(go list -m)/clients/go)|" tools/client/go/go.mod >"$$out/go/go.mod"; \
		$(TOOL) oapi-codegen -config tools/client/oapi-codegen.yaml -o "$$out/go/client.go" "$$out/openapi.json"; \
		(cd "$$out/go" && GOWORK=off GOFLAGS= go build ./...); \
		echo "wrote $$out/go: import $$(head -1 "$$out/go/go.mod" | cut -d' ' -f2)"; \
	fi; \
	if [ "$(lang)" != go ]; then \
		mkdir -p "$$out/ts"; cp tools/client/ts/* "$$out/ts"; cd "$$out/ts"; \
		npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null; \
		node_modules/.bin/openapi-typescript ../openapi.json -o api.ts --default-non-nullable=false >/dev/null; \
		node_modules/.bin/tsc; \
		echo "wrote $$out/ts: npm install $$out/ts"; \
	fi

.PHONY: psql
psql: ## Open psql on DATABASE_URL, or on the PostgreSQL that `make run` has started
	@command -v psql >/dev/null || { echo "make psql: psql is not installed: apt-get install postgresql-client" >&2; exit 1; }; \
	url="$${DATABASE_URL:-$$(sed -n "s/^ *DATABASE_URL=//p" .env 2>/dev/null | tr -d "\"'")}"; \
	[ -z "$$url" ] || exec psql "$$url"; \
	dir="$${DATA_DIR:-./.data}/postgres"; \
	[ -e "$$dir/data/postmaster.pid" ] || { echo "make psql: nothing runs in $$dir: start it with make run" >&2; exit 1; }; \
	kill -0 "$$(head -1 "$$dir/data/postmaster.pid")" 2>/dev/null || { echo "make psql: the PostgreSQL in $$dir does not run: start it with make run" >&2; exit 1; }; \
	PGPASSWORD="$$(cat "$$dir/data/quern.password")" exec psql -h 127.0.0.1 -p "$$(cat "$$dir/port")" -U quern quern

.PHONY: build
build: ## Build bin/server
	@[ -e bin/server ] || echo "make: compiling the server: up to a minute, the first time" >&2
	@go build -trimpath -ldflags "-X main.release=$(VERSION)" -o bin/server ./cmd/server

.PHONY: clean
clean: ## Remove bin; the data in ./.data stays
	rm -rf bin

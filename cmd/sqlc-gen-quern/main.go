// Command sqlc-gen-quern is a plugin for sqlc. It reads the directives in the doc
// comments of queries, checks them against their statements, and completes the package
// that sqlc generates so that it runs on the runtime, package postgres.
//
// # Use
//
// The plugin is a process plugin. sqlc starts the executable named in cmd without
// arguments, in the directory in which sqlc runs. That must be the directory of
// sqlc.yaml:
//
//	version: "2"
//	plugins:
//	  - name: quern
//	    process:
//	      cmd: sqlc-gen-quern
//	      format: json
//	sql:
//	  - engine: postgresql
//	    schema: migrations
//	    queries: queries
//	    gen:
//	      go:
//	        package: db
//	        out: internal/db
//	        sql_package: pgx/v5
//	    codegen:
//	      - plugin: quern
//	        out: internal/db
//
// sqlc looks for cmd in PATH. `go install MODULE/cmd/sqlc-gen-quern` puts it there if
// PATH contains the directory of go install. To pin the plugin in go.mod, run `go get
// -tool MODULE/cmd/sqlc-gen-quern` and make cmd a script, because sqlc does not accept a
// command with arguments:
//
//	#!/bin/sh
//	exec go tool sqlc-gen-quern
//
// sqlc passes a plugin only the environment variables listed in env, and go needs some of
// them:
//
//	plugins:
//	  - name: quern
//	    env: [PATH, HOME, GOPATH, GOCACHE, GOMODCACHE, GOFLAGS, GOPROXY, GOTOOLCHAIN]
//	    process:
//	      cmd: ./sqlc-gen-quern.sh
//	      format: json
//
// sqlc never deletes a file, so remove the package before you generate it.
//
// # Files
//
//   - registry.go lists all statements of the query files with their directives, and the
//     statements that the plugin derives from the reads, updates and deletes marked @batch. Pass the list as
//     postgres.Config.Statements. The file also has InTx, Pipeline and QueueWithCommit of
//     Queries.
//   - stream.go has a streaming method for every query marked @stream.
//   - queue.go has a queueing method for every query marked @queue.
//   - copy.go lets the runtime encode the rows of every :copyfrom.
//   - statements.json is registry.go for tools. It is a list of the statements, sorted by
//     name, each with name, kind, file, doc, sql, parameters, columns, policy, reads and
//     derivedFrom. A list is never null. A property that a statement does not have is null.
//     Fields may be added.
//
// If a directive is unknown, malformed, misplaced or contradicts its statement, `sqlc
// generate` fails and writes nothing. The same holds for an option of sqlc with which the
// two halves of the package would not fit together. Standard error has one line for each
// problem in any file, with its hint. The plugin also reads the query files themselves,
// because sqlc collects only some of their comments.
//
// # Options
//
// Names and types follow the options of gen.go. The plugin reads them in sqlc.yaml
// because sqlc does not send them. The plugin's own options are under options, in the
// entry of codegen:
//
//	runtime   the import path of the runtime. Defaults to package postgres of the module
//	          that the plugin was built from, so that a fork needs no option.
//	go_types  Go types by column ("users.tags") or by type ("timestamptz"), written as
//	          in sqlc's go_type, if the plugin derives another type than sqlc.
//	models    Go structs by table ("people": "Person"), for the same reason.
//	package   the package of gen.go. Defaults to that.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	os.Exit(run(".", os.Stdin, os.Stdout, os.Stderr))
}

// run answers one request and returns the exit code. dir is the directory of sqlc.yaml.
func run(dir string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := answer(dir, stdin, stdout); err != nil {
		// sqlc prints "process: error running command " first. The line break puts the first
		// problem on a line by itself.
		fmt.Fprintf(stderr, "\n%v\n", err)
		return 1
	}
	return 0
}

// answer reads a request and the query files and writes the response. If it returns an
// error, it has written nothing.
func answer(dir string, stdin io.Reader, stdout io.Writer) error {
	req, err := readRequest(stdin)
	if err != nil {
		return err
	}
	if req.golang, err = readConfig(dir, req); err != nil {
		return err
	}
	sources, err := readSources(dir, req.Settings.Queries)
	if err != nil {
		return err
	}
	if schema, err := readSources(dir, req.Settings.Schema); err == nil {
		// Without the files, only the test checks the keys.
		req.keys = readKeys(schema)
	}
	files, err := generate(req, sources)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(response{Files: files}); err != nil {
		return fmt.Errorf("sqlc-gen-quern: write the response: %w", err)
	}
	return nil
}

// generate checks the query files and every statement of the request, and returns the
// generated files.
func generate(req *request, sources []sqlFile) ([]file, error) {
	statements, problems := read(req)
	problems = append(problems, checkConfig(req)...)
	problems = append(problems, checkSources(sources, statements)...)
	problems = append(problems, check(statements)...)
	problems = append(problems, checkClashes(req, sources, statements)...)
	streams, more := planStreams(req, statements)
	problems = append(problems, more...)
	queues, more := planQueues(req, statements)
	problems = append(problems, more...)
	derived, more := derive(req, statements)
	problems = append(problems, more...)
	if len(problems) > 0 {
		return nil, report(statements, problems)
	}

	sorted := append(slices.Clone(statements), derived...)
	slices.SortFunc(sorted, func(a, b *statement) int { return strings.Compare(a.Name, b.Name) })
	registry, err := emitRegistry(req, sorted)
	if err != nil {
		return nil, err
	}
	files := []file{{Name: "registry.go", Contents: registry}}
	if len(streams) > 0 {
		stream, err := emitStreams(req, streams)
		if err != nil {
			return nil, err
		}
		files = append(files, file{Name: "stream.go", Contents: stream})
	}
	if len(queues) > 0 {
		queue, err := emitQueues(req, queues)
		if err != nil {
			return nil, err
		}
		files = append(files, file{Name: "queue.go", Contents: queue})
	}
	copies, err := emitCopies(req, statements)
	if err != nil {
		return nil, err
	}
	if copies != nil {
		files = append(files, file{Name: "copy.go", Contents: copies})
	}
	catalog, err := emitStatementsJSON(sorted)
	if err != nil {
		return nil, err
	}
	return append(files, file{Name: statementsJSON, Contents: catalog}), nil
}

// ownFiles are the files of the package that the plugin writes.
var ownFiles = []string{"registry.go", "stream.go", "queue.go", "copy.go"}

// problem is one mistake in a statement or in a line of a file.
type problem struct {
	at    *statement
	where string // file:line, if at is nil
	text  string // the reason and the hint
}

func (s *statement) problemf(format string, args ...any) problem {
	return problem{at: s, text: fmt.Sprintf(format, args...)}
}

// report joins the problems, one per line. Problems of lines come first, then those of
// queries, each in the order of the files.
func report(statements []*statement, problems []problem) error {
	var lines []string
	for _, p := range problems {
		if p.at == nil {
			lines = append(lines, p.where+": "+p.text)
		}
	}
	for _, s := range statements {
		for _, p := range problems {
			if p.at == s {
				lines = append(lines, fmt.Sprintf("%s: %s: %s", s.path, s.Name, p.text))
			}
		}
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}

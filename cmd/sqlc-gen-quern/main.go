// Command sqlc-gen-quern is the sqlc plugin that turns the directives in
// the doc comments under queries/ into code: registry.go, which says for every
// statement what its SQL file says about it, together with the statements that it
// derives from those marked @batch, stream.go, which holds a streaming twin of
// every query marked @stream, and queue.go, which holds a queued twin of every query
// marked @queue.
//
// sqlc starts it through ./run, in the folder of sqlc.yaml, with a request as JSON on
// standard input (`format: json`), and reads the files to write from standard output.
// The plugin reads the query files themselves, too, because sqlc collects only some
// of their comments. A directive that is unknown, malformed, misplaced, or not true of
// its statement fails `sqlc generate`: nothing is written, and standard error has one line for
// each thing that is wrong, in all files at once, each with its mend.
//
// Names and types follow the options of gen.go, which the plugin reads in sqlc.yaml
// because sqlc sends it none of them. It has options of its own, under codegen, for the
// case that it concludes another name or type than sqlc does:
//
//	go_types  Go types by column ("users.tags") or by type ("timestamptz"), written as
//	          in sqlc's go_type.
//	models    Go structs by table ("people": "Person").
//	package   the package of gen.go, which is its default.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	os.Exit(run(".", os.Stdin, os.Stdout, os.Stderr))
}

// run answers one request in a directory, the one with sqlc.yaml, and returns the
// exit code.
func run(dir string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := answer(dir, stdin, stdout); err != nil {
		// sqlc prints "process: error running command " and then this; the
		// line break lets the first problem begin its own line.
		fmt.Fprintf(stderr, "\n%v\n", err)
		return 1
	}
	return 0
}

// answer reads a request and the query files, and writes the response, or nothing
// when it returns an error.
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
	files, err := generate(req, sources)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(response{Files: files}); err != nil {
		return fmt.Errorf("sqlc-gen-quern: write the response: %w", err)
	}
	return nil
}

// generate checks the query files and every statement of the request, and writes the
// code.
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

	registry, err := emitRegistry(req, append(statements, derived...))
	if err != nil {
		return nil, err
	}
	files := []file{{Name: "registry.go", Contents: registry}}
	if len(streams) > 0 {
		stream, err := emitStreams(req.golang, streams)
		if err != nil {
			return nil, err
		}
		files = append(files, file{Name: "stream.go", Contents: stream})
	}
	if len(queues) > 0 {
		queue, err := emitQueues(req.golang, queues)
		if err != nil {
			return nil, err
		}
		files = append(files, file{Name: "queue.go", Contents: queue})
	}
	return files, nil
}

// ownFiles are the files of the package that the plugin writes.
var ownFiles = []string{"registry.go", "stream.go", "queue.go"}

// problem is one thing that is wrong with one statement, or with a line of a file.
type problem struct {
	at    *statement
	where string // file:line, if at is nil
	text  string // what is wrong: the hint
}

func (s *statement) problemf(format string, args ...any) problem {
	return problem{at: s, text: fmt.Sprintf(format, args...)}
}

// report joins the problems, one a line: first those of lines, then those of queries,
// each in the order of the files.
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

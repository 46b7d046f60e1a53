// Package scaffold writes the code of a noun from a table that migrations have made: its
// statements, its part of the HTTP API, and a test. They are a beginning, which the project
// edits.
//
//	scaffold.go    the order of work, and which files are written
//	database.go    the database that the migrations are applied to
//	catalog.go     what its catalog says about the table
//	bounds.go      the bounds that its types and CHECKs set
//	names.go       the noun in all its forms
//	sql.go         the statements
//	generated.go   the Go types that sqlc gives to them
//	value.go       Go values from rows to the wire and back
//	api.go         the HTTP API
//	example.go     rows that the table accepts
//	test.go        the test
package scaffold

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Config says what to write and where. Folders are below Dir.
type Config struct {
	Dir        string // the project's directory, with its go.mod
	Table      string // including its schema before a dot, if that is not public
	Noun       string // the name of one row; defaults to the table's in the singular
	Database   string // the URL of a migrated database; defaults to one that is started
	Migrations string
	Queries    string
	Generated  string // the package that sqlc writes
	API        string // the package of the HTTP API
	Generate   string // the command that runs sqlc
	Runtime    string // the import path of the runtime
	Force      bool   // replace files that exist
	Stderr     io.Writer
}

// Result lists the written files and the remaining steps.
type Result struct {
	Files []string
	Hints []string // changes that must be made by hand
	Notes []string // the parts that the files lack, and how to add them
}

// Run writes the files of a noun. If it fails, it leaves none.
func Run(ctx context.Context, c Config) (_ *Result, err error) {
	if err := refuseRuntime(c.Table); err != nil {
		return nil, err
	}
	n, err := newNoun(cmp.Or(c.Noun, nounOf(c.Table[strings.LastIndex(c.Table, ".")+1:])))
	if err != nil {
		return nil, err
	}
	w := &writer{Config: c, noun: n}
	if err := w.check(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.undo(ctx))
		}
	}()
	t, example, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.write(w.queryFile(), statementsOf(t, n)); err != nil {
		return nil, err
	}
	if err := w.generate(ctx); err != nil {
		return nil, err
	}
	w.generated = true
	g, err := readGenerated(filepath.Join(c.Dir, c.Generated))
	if err != nil {
		return nil, err
	}
	module, err := w.module(ctx)
	if err != nil {
		return nil, err
	}
	a, err := newAPI(t, n, g)
	if err != nil {
		return nil, err
	}
	a.registration = fmt.Sprintf("s.register%s() in newServer, %s", n.many, filepath.Join(c.API, "api.go"))
	a.imports = imports{db: module + "/" + c.Generated, runtime: c.Runtime}
	if err := w.writeGo(w.apiFile(""), a.code(example), module); err != nil {
		return nil, err
	}
	if err := w.writeGo(w.apiFile("_test"), a.test(example), module); err != nil {
		return nil, err
	}
	return &Result{Files: w.files, Hints: append([]string{a.registration}, example.hints...), Notes: t.unlisted()}, nil
}

// writer writes files, and can undo that.
type writer struct {
	Config
	noun
	files     []string
	old       map[string][]byte // the replaced files
	generated bool              // the generated package has the statements
}

func (w *writer) queryFile() string { return filepath.Join(w.Queries, w.file+".sql") }
func (w *writer) apiFile(suffix string) string {
	return filepath.Join(w.API, w.file+suffix+".go")
}

// check refuses names that would overwrite the project's own files or clash with its code.
func (w *writer) check() error {
	for _, dir := range []string{w.Queries, w.API} {
		if info, err := os.Stat(filepath.Join(w.Dir, dir)); err != nil || !info.IsDir() {
			return fmt.Errorf("folder %s: does not exist in the project: run it in the folder of go.mod, or name the folder with a flag", dir)
		}
	}
	own := map[string]bool{}
	for _, name := range []string{w.queryFile(), w.apiFile(""), w.apiFile("_test")} {
		own[filepath.Base(name)] = true
		if _, err := os.Stat(filepath.Join(w.Dir, name)); err == nil && !w.Force {
			return fmt.Errorf("file %s: exists already: remove it, pass --force to replace it, or choose another name with --noun", name)
		}
	}
	return w.checkNames(own)
}

// write writes a file of the project.
func (w *writer) write(name, text string) error {
	path := filepath.Join(w.Dir, name)
	if old, err := os.ReadFile(path); err == nil {
		if w.old == nil {
			w.old = map[string][]byte{}
		}
		w.old[name] = old
	}
	w.files = append(w.files, name)
	return os.WriteFile(path, []byte(text), 0o644)
}

// undo removes the written files, restores the replaced ones, and generates again.
func (w *writer) undo(ctx context.Context) error {
	var errs []error
	for _, name := range w.files {
		path := filepath.Join(w.Dir, name)
		if old, ok := w.old[name]; ok {
			errs = append(errs, os.WriteFile(path, old, 0o644))
			continue
		}
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if w.generated {
		errs = append(errs, w.generate(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}

// generate runs sqlc.
func (w *writer) generate(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", w.Generate)
	cmd.Dir = w.Dir
	cmd.WaitDelay = killDelay
	// One writer for both, so that one goroutine writes to it.
	out := &output{notices: w.Stderr}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", w.Generate, err, strings.TrimSpace(out.String()))
	}
	return nil
}

// killDelay is how long the children of a killed command may keep its output open.
const killDelay = 2 * time.Second

// output keeps the output of a command, and passes on the lines in which make announces
// steps that take long.
type output struct {
	bytes.Buffer
	notices io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte("make: compiling")) {
		_, _ = o.notices.Write(p) // a notice
	}
	return o.Buffer.Write(p)
}

// module returns the path of the project's module.
func (w *writer) module(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m")
	cmd.Dir = w.Dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w: run it in the folder of go.mod", err)
	}
	module, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return module, nil
}

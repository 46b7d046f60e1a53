// Package newproject writes a new project with one noun, which imports the runtime.
//
//	newproject.gothe order of work
//	check.go     refuses bad arguments
//	modules.go   go.mod, and the modules that pin the tools
//	template/    the files, apart from those of the noun, which package scaffold writes
package newproject

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"quern/cmd/quern/internal/scaffold"
	"quern/postgres"
)

//go:embed template
var templates embed.FS

// Config says what to write.
type Config struct {
	Dir      string // must not exist, or be empty
	Module   string
	Noun     string
	Checkout string // the folder of the runtime's module, which replaces it in go.mod
	Quern    string // the path of the runtime's module
	Stderr   io.Writer
}

// values are the data of the templates.
type values struct {
	scaffold.Names
	Module  string
	Quern   string
	Package string // of the module's root
	Name    string // the last element of the module's path
}

// New writes a project. It works in a folder next to Dir, and renames that folder at the end.
// So a run that fails or is killed leaves no partial project.
func New(ctx context.Context, c Config) (err error) {
	v, err := c.check()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(c.Dir), "."+filepath.Base(c.Dir)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if failed := os.RemoveAll(work); err != nil {
			err = errors.Join(err, failed)
		}
	}()
	// The folder that MkdirTemp made is accessible only to its owner.
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := c.writeFiles(work, v); err != nil {
		return err
	}
	if err := c.writeModules(ctx, work, v); err != nil {
		return err
	}
	if _, err := scaffold.Run(ctx, scaffold.Config{
		Dir: work, Table: v.Table, Noun: c.Noun, Migrations: "migrations", Queries: "queries", Generated: "internal/db", API: "internal/api",
		Generate: "make -s generate", Runtime: c.Quern, Stderr: c.Stderr,
	}); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(work, ".data")); err != nil {
		return err
	}
	if err := goCommand(ctx, work, "mod", "tidy"); err != nil {
		return err
	}
	// An empty folder may already exist there.
	if err := os.Remove(c.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(work, c.Dir)
}

// writeFiles writes the templates and the migrations.
func (c Config) writeFiles(work string, v values) error {
	err := fs.WalkDir(templates, "template", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(templates, name)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := template.Must(template.New(name).Parse(string(text))).Execute(&b, v); err != nil {
			return err
		}
		return write(work, target(strings.TrimPrefix(name, "template/"), v), b.String())
	})
	if err != nil {
		return err
	}
	if err := write(work, "migrations/00001_create_runtime_tables.sql", postgres.Config{}.TablesMigration()); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(work, "queries"), 0o755)
}

// target returns the path of the file that a template produces.
func target(name string, v values) string {
	name = strings.TrimSuffix(name, ".tmpl")
	switch name {
	case "gitignore", "dockerignore":
		return "." + name
	case "create_noun.sql":
		return "migrations/00002_create_" + v.Table + ".sql"
	}
	return name
}

func write(work, name, text string) error {
	path := filepath.Join(work, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if strings.HasSuffix(name, ".sh") {
		mode = 0o755
	}
	return os.WriteFile(path, []byte(text), mode)
}

// goCommand runs the go command in a folder.
func goCommand(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

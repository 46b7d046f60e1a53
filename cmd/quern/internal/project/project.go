// Package project reads a project of sqlc: where its migrations, its queries
// and its generated code are, and the statements in that code.
package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"quern/postgres"
)

// Project is one package of an sqlc configuration. Its paths are relative to Root.
type Project struct {
	Root       string // where the sqlc configuration is
	Migrations string
	Queries    string
	Statements string // the file statements.json, which the plugin sqlc-gen-quern writes
}

// configs are the names of sqlc's configuration, in the order in which sqlc looks for
// them.
var configs = []string{"sqlc.yaml", "sqlc.yml", "sqlc.json"}

// Find reads the sqlc configuration in a directory. If it has several packages, the
// first with statements.json is the project.
func Find(root string) (Project, error) {
	var text []byte
	var name string
	var err error
	for _, name = range configs {
		if text, err = os.ReadFile(filepath.Join(root, name)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return Project{}, fmt.Errorf("read the sqlc configuration: %s has no sqlc.yaml: run this where sqlc.yaml is, or pass --project", root)
	}
	var config struct {
		SQL []struct {
			Schema  oneOrMany
			Queries oneOrMany
			Gen     struct{ Go struct{ Out string } }
			Codegen []struct{ Out string }
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return Project{}, fmt.Errorf("read %s: %w", name, err)
	}
	var first *Project
	for _, s := range config.SQL {
		p := Project{Root: root, Migrations: s.Schema.first(), Queries: s.Queries.first()}
		outs := []string{s.Gen.Go.Out}
		for _, c := range s.Codegen {
			outs = append(outs, c.Out)
		}
		for _, out := range outs {
			p.Statements = filepath.Join(out, "statements.json")
			if first == nil {
				first = &p
			}
			if _, err := os.Stat(filepath.Join(root, p.Statements)); err == nil {
				return p, nil
			}
		}
	}
	if first == nil {
		return Project{}, fmt.Errorf("read %s: it has no list sql with a package: use version 2 of sqlc's configuration", name)
	}
	return *first, nil
}

// oneOrMany is a path, or a list of them.
type oneOrMany []string

func (o *oneOrMany) UnmarshalYAML(value *yaml.Node) error {
	if value.Kind == yaml.ScalarNode {
		*o = oneOrMany{value.Value}
		return nil
	}
	return value.Decode((*[]string)(o))
}

func (o oneOrMany) first() string {
	if len(o) == 0 {
		return ""
	}
	return o[0]
}

// FS returns the migrations.
func (p Project) FS() fs.FS { return os.DirFS(filepath.Join(p.Root, p.Migrations)) }

// Load reads the statements of the generated code.
func (p Project) Load() ([]postgres.Statement, error) {
	statements, err := ReadStatements(filepath.Join(p.Root, p.Statements))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the statements: there is no %s: add the plugin sqlc-gen-quern to the sqlc configuration and run sqlc generate", p.Statements)
	}
	return statements, err
}

// ReadStatements reads a file statements.json.
func ReadStatements(file string) ([]postgres.Statement, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the statements: %w", err)
	}
	return Parse(text)
}

// Parse reads a statements.json.
func Parse(text []byte) ([]postgres.Statement, error) {
	var list []struct {
		Name, Kind, File, Doc, SQL string
		Parameters                 []postgres.Param
		Columns                    []postgres.Column
		Reads                      bool
		DerivedFrom                string
		Policy                     struct {
			Route              string
			Timeout            duration
			Retry              bool
			Plan, Batch, Class string
			Stream, Queue      bool
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("read statements.json: %w: run sqlc generate", err)
	}
	var statements []postgres.Statement
	for _, s := range list {
		p := s.Policy
		statements = append(statements, postgres.Statement{
			Name: s.Name, Kind: postgres.Kind(s.Kind), File: s.File, Doc: s.Doc, SQL: s.SQL, Params: s.Parameters, Columns: s.Columns,
			Route: postgres.Route(p.Route), Timeout: time.Duration(p.Timeout), Retry: p.Retry, Plan: p.Plan, Batch: p.Batch,
			Class: p.Class, Stream: p.Stream, Queue: p.Queue, DerivedFrom: s.DerivedFrom, Reads: s.Reads,
		})
	}
	return statements, nil
}

// duration is a Go duration, or null.
type duration time.Duration

// UnmarshalJSON reads it.
func (d *duration) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return err
	}
	parsed, err := time.ParseDuration(*s)
	*d = duration(parsed)
	return err
}

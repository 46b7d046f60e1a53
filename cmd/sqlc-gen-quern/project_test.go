package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// project is a directory in which sqlc generates code with the plugin under test.
type project struct {
	t   *testing.T
	dir string
}

// config is the sqlc.yaml of a project that does not have one. The options of the
// Go code are appended to it.
const config = `version: "2"
plugins:
  - name: registry
    process:
      cmd: ./plugin
      format: json
sql:
  - engine: postgresql
    schema: migrations
    queries: queries
    analyzer:
      database: false
    codegen:
      - plugin: registry
        out: db
    gen:
      go:
        package: db
        out: db
        sql_package: pgx/v5
`

// newProject writes the files of a project. It skips the test if the environment
// variable SQLC is not set.
func newProject(t *testing.T, files map[string]string) *project {
	t.Helper()
	if os.Getenv("SQLC") == "" {
		t.Skip("SQLC does not name a sqlc to run")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &project{t: t, dir: t.TempDir()}
	if files["sqlc.yaml"] == "" {
		files = maps.Clone(files)
		files["sqlc.yaml"] = config
	}
	for name, text := range files {
		p.write(name, text)
	}
	p.write("plugin", "#!/bin/sh\n"+asPlugin+"=1 exec '"+self+"'\n")
	if err := os.Chmod(filepath.Join(p.dir, "plugin"), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *project) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		p.t.Fatal(err)
	}
}

// sqlc runs sqlc in the project and returns its output.
func (p *project) sqlc(args ...string) (string, error) {
	cmd := exec.Command(os.Getenv("SQLC"), args...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// generate writes the code of the project.
func (p *project) generate() {
	p.t.Helper()
	if out, err := p.sqlc("generate"); err != nil {
		p.t.Fatalf("sqlc generate: %v:\n%s", err, out)
	}
}

// goTool returns a go command on packages of the project. An overlay puts them into
// this module, because no other module can import postgres.
func (p *project) goTool(verb string, packages ...string) *exec.Cmd {
	p.t.Helper()
	inModule := "testdata/" + filepath.Base(filepath.Dir(p.dir))
	here, err := os.Getwd()
	if err != nil {
		p.t.Fatal(err)
	}
	replace := map[string]string{}
	err = filepath.WalkDir(p.dir, func(file string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(file, ".go") {
			name, _ := filepath.Rel(p.dir, file)
			replace[filepath.Join(here, inModule, name)] = file
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("overlay.json", string(overlay))
	args := []string{verb, "-overlay", filepath.Join(p.dir, "overlay.json")}
	for _, name := range packages {
		args = append(args, "./"+inModule+"/"+name)
	}
	return exec.Command("go", args...)
}

// importPath returns the path by which the project's Go code imports one of its
// packages.
func (p *project) importPath(name string) string {
	return "quern/cmd/sqlc-gen-quern/testdata/" + filepath.Base(filepath.Dir(p.dir)) + "/" + name
}

// mustBuild compiles the generated package.
func (p *project) mustBuild() {
	p.t.Helper()
	if out, err := p.goTool("build", "db").CombinedOutput(); err != nil {
		p.t.Errorf("go build: %v:\n%s", err, out)
	}
}

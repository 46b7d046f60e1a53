package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuide generates code with the sqlc.yaml of the package comment and the plugin in
// PATH.
func TestGuide(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(source), "//\tversion: ")
	text, _, _ := strings.Cut("//\tversion: "+after, "\n//\n")
	p := newProject(t, map[string]string{
		"sqlc.yaml":        strings.ReplaceAll(text+"\n", "//\t", ""),
		"migrations/1.sql": itemsSQL, "queries/item.sql": itemQueries + copyQuery,
	})
	if err := os.Rename(filepath.Join(p.dir, "plugin"), filepath.Join(p.dir, "sqlc-gen-quern")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Getenv("SQLC"), "generate")
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "PATH="+p.dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqlc generate: %v:\n%s", err, out)
	}
	if out, err := p.goTool("build", "internal/db").CombinedOutput(); err != nil {
		t.Errorf("go build: %v:\n%s", err, out)
	}
	for _, name := range append([]string{statementsJSON}, ownFiles...) {
		if _, err := os.Stat(filepath.Join(p.dir, "internal/db", name)); err != nil {
			t.Error(err)
		}
	}
}

// TestMainBranch runs the continuous integration job for sqlc's main branch with a sqlc
// that fails. The job must report the failure and succeed.
func TestMainBranch(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("../../.ci/sqlc-main")
	cmd.Env = append(os.Environ(), "SQLC_MAIN=false")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "sqlc's main branch") {
		t.Errorf("%v:\n%s", err, out)
	}
}

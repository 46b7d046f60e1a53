package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/pgtest"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata/full")

// asPlugin makes the test binary act as the plugin, so that a real sqlc can run
// the code under test.
const asPlugin = "SQLC_GEN_REGISTRY_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		os.Exit(run(".", os.Stdin, os.Stdout, os.Stderr))
	}
	pgtest.Main(m)
}

// TestGenerate answers the request that sqlc made of testdata/full and compares
// the result with the files beside sqlc's own code there. That package is
// compiled into the tests (stream_run_test.go), so the result is known to
// compile.
func TestGenerate(t *testing.T) {
	t.Parallel()
	stdin, err := os.Open("testdata/full/request.json")
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var stdout, stderr bytes.Buffer
	if code := run("testdata/full", stdin, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, stderr.String())
	}
	var got response
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Files) != 5 {
		t.Fatalf("%d files, want registry.go, statements.json, stream.go, queue.go and copy.go", len(got.Files))
	}
	for _, f := range got.Files {
		golden(t, filepath.Join("testdata/full/db", f.Name), f.Contents)
	}
}

// TestSQLC runs the sqlc named by the environment variable SQLC on
// testdata/full. It compares all files that sqlc wrote and its request to the
// plugin. To record both, run SQLC=… go test -run TestSQLC -update. The
// previous recording is part of the tests, so it must compile. If it does not,
// let sqlc write testdata/full/db with the plugin built beside its sqlc.yaml.
func TestSQLC(t *testing.T) {
	t.Parallel()
	sqlc := os.Getenv("SQLC")
	if sqlc == "" {
		t.Skip("SQLC does not name a sqlc to run")
	}
	dir := copyFixture(t)
	cmd := exec.Command(sqlc, "generate")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	golden(t, "testdata/full/request.json", shortRequest(t, filepath.Join(dir, "request.json")))
	written, err := filepath.Glob(filepath.Join(dir, "db", "*"))
	if err != nil || len(written) == 0 {
		t.Fatal("sqlc wrote nothing", err)
	}
	for _, name := range written {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata/full/db", filepath.Base(name)), b)
	}
}

// TestSQLCRefusal checks that a refusal is readable in sqlc's output.
func TestSQLCRefusal(t *testing.T) {
	t.Parallel()
	sqlc := os.Getenv("SQLC")
	if sqlc == "" {
		t.Skip("SQLC does not name a sqlc to run")
	}
	dir := copyFixture(t)
	broken := "-- @rout replica\n-- @stream\n-- name: CountUsers :one\nSELECT count(*) FROM users;\n"
	if err := os.WriteFile(filepath.Join(dir, "queries/broken.sql"), []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sqlc, "generate")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("sqlc generate succeeded")
	}
	want := "# package registry\n" +
		"error generating code: process: error running command \n" +
		"queries/broken.sql: CountUsers: unknown directive @rout (did you mean @route?): use one of @batch, @class, @plan, @queue, @retry, @route, @stream, @timeout\n" +
		"queries/broken.sql: CountUsers: @stream on a :one: only a :many can be streamed: remove it\n\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("sqlc printed (-want +got):\n%s", diff)
	}
}

// copyFixture copies testdata/full without its code. The test binary is the
// plugin.
func copyFixture(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"sqlc.yaml", "migrations", "queries"} {
		if out, err := exec.Command("cp", "-r", "testdata/full/"+name, dir).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	plugin := "#!/bin/sh\ncat >request.json\n" + asPlugin + "=1 exec '" + self + "' <request.json\n"
	if err := os.WriteFile(filepath.Join(dir, "plugin"), []byte(plugin), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shortRequest reads a request without the parts that the plugin ignores, such
// as a megabyte of system catalog.
func shortRequest(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var req request
	if err := json.Unmarshal(b, &req); err != nil {
		t.Fatal(err)
	}
	var own []schema
	for _, s := range req.Catalog.Schemas {
		if s.Name == req.Catalog.DefaultSchema {
			own = append(own, s)
		}
	}
	req.Catalog.Schemas = own
	b, err = json.MarshalIndent(&req, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// golden compares got with a file of testdata, or writes that file with
// -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

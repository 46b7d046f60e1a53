package api

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Generators and linters come from npm and the module proxy, with the versions and checksums of
// tools/client, tools/go.mod and testdata/clients/package-lock.json:
// QUERN_TEST_CLIENTS=1 go test -run TestClients ./internal/api
func downloads(t *testing.T) {
	t.Helper()
	if os.Getenv("QUERN_TEST_CLIENTS") == "" {
		t.Skip("set QUERN_TEST_CLIENTS=1 to download generators and linters")
	}
}

// run runs a command, without the settings of an outer make or go command.
func run(t *testing.T, dir string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=", "GOFLAGS=", "REDOCLY_TELEMETRY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// copyTo copies a file of testdata/clients.
func copyTo(t *testing.T, name, path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "clients", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestClients_TypeScript compiles a program with the client that make client writes, and runs it
// against a server that demands API tokens.
func TestClients_TypeScript(t *testing.T) {
	t.Parallel()
	downloads(t)
	dir, g := t.TempDir(), newGuarded(t)
	run(t, "../..", "make", "client", "lang=ts", "out="+dir)
	app := filepath.Join(dir, "app")
	copyTo(t, "app.ts", filepath.Join(app, "app.ts"))
	copyTo(t, "app.json", filepath.Join(app, "package.json"))
	run(t, app, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", filepath.Join(dir, "ts"))
	run(t, app, filepath.Join(dir, "ts", "node_modules", ".bin", "tsc"),
		"--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext", "app.ts")
	run(t, app, "node", "app.js", g.url, g.write)
}

// TestClients_Go is TestClients_TypeScript in Go.
func TestClients_Go(t *testing.T) {
	t.Parallel()
	downloads(t)
	dir, g := t.TempDir(), newGuarded(t)
	run(t, "../..", "make", "client", "lang=go", "out="+dir, "module=example.com/shop/client")
	app := filepath.Join(dir, "app")
	copyTo(t, "app.go.txt", filepath.Join(app, "main.go"))
	run(t, app, "go", "mod", "init", "example.com/shop/app")
	run(t, dir, "go", "work", "init", "./go", "./app")
	run(t, app, "go", "run", ".", g.url, g.write)
}

// TestClients_Lint checks the document with linters of npm.
func TestClients_Lint(t *testing.T) {
	t.Parallel()
	downloads(t)
	dir := t.TempDir()
	document, err := Document("1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"openapi.json": string(document), ".spectral.yaml": "extends: [\"spectral:oas\"]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copyTo(t, "package.json", filepath.Join(dir, "package.json"))
	copyTo(t, "package-lock.json", filepath.Join(dir, "package-lock.json"))
	run(t, dir, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	bin := func(name string) string { return filepath.Join(dir, "node_modules", ".bin", name) }
	run(t, dir, bin("redocly"), "lint", "openapi.json")
	run(t, dir, bin("spectral"), "lint", "--fail-severity", "error", "openapi.json")
}

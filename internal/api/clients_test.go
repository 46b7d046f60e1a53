package api

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Generators and linters come from npm and the module proxy, pinned here and in
// testdata/clients/package.json:
// QUERN_TEST_CLIENTS=1 go test -run TestClients ./internal/api
const oapiCodegen, oapiRuntime = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2", "github.com/oapi-codegen/runtime@v1.9.0"

// clientFolder is a folder with the files of testdata/clients and the document of a
// running server.
func clientFolder(t *testing.T) (dir string, c *client) {
	t.Helper()
	if os.Getenv("QUERN_TEST_CLIENTS") == "" {
		t.Skip("set QUERN_TEST_CLIENTS=1 to download generators and linters")
	}
	c, dir = newClient(t), t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/clients")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), []byte(c.get("/openapi.json").body), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, c
}

func run(t *testing.T, dir string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "REDOCLY_TELEMETRY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// TestClients_TypeScript lints the document, generates a TypeScript client from it and
// runs a program with it.
func TestClients_TypeScript(t *testing.T) {
	t.Parallel()
	dir, c := clientFolder(t)
	run(t, dir, "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
	bin := func(name string) string { return filepath.Join(dir, "node_modules", ".bin", name) }
	run(t, dir, bin("redocly"), "lint", "openapi.json")
	if err := os.WriteFile(filepath.Join(dir, ".spectral.yaml"), []byte("extends: [\"spectral:oas\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, bin("spectral"), "lint", "--fail-severity", "error", "openapi.json")
	// Without this option, the type of a request would require members that have a default.
	run(t, dir, bin("openapi-typescript"), "openapi.json", "-o", "api.d.ts", "--default-non-nullable=false")
	run(t, dir, bin("tsc"), "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--types", "node", "client.ts")
	run(t, dir, "node", "client.js", c.url)
}

// TestClients_Go generates a Go client and runs a program with it. Enum values are
// prefixed because a constant, such as TaskStatus of the codes of problems, may
// otherwise have the name of a type.
func TestClients_Go(t *testing.T) {
	t.Parallel()
	dir, c := clientFolder(t)
	for name, content := range map[string]string{
		"go.mod": "module client\n\ngo 1.26\n",
		"config.yaml": "package: main\noutput: api.go\ngenerate: {models: true, client: true}\n" +
			"compatibility: {always-prefix-enum-values: true}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "client.go.txt"), filepath.Join(dir, "main.go")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "go", "run", oapiCodegen, "-config", "config.yaml", "openapi.json")
	run(t, dir, "go", "get", oapiRuntime)
	run(t, dir, "go", "mod", "tidy")
	run(t, dir, "go", "run", ".", c.url)
}

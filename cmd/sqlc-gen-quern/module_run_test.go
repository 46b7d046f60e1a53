package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plugged is a copy of the plugin in a module with another path, and a project that
// requires that module.
type plugged struct {
	t               *testing.T
	path            string
	module, project string // their directories
}

func newPlugged(t *testing.T, path string) *plugged {
	t.Helper()
	p := &plugged{t: t, path: path, module: t.TempDir(), project: t.TempDir()}
	for from, to := range map[string]string{".": "cmd/sqlc-gen-quern", "internal/module": "cmd/sqlc-gen-quern/internal/module", "../../internal/pgproc": "internal/pgproc"} {
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if name := e.Name(); !e.IsDir() && !strings.HasSuffix(name, "_test.go") {
				p.copyFile(filepath.Join(from, name), filepath.Join(p.module, to, name))
			}
		}
	}
	p.write(filepath.Join(p.module, "go.mod"), "module "+path+"\n\ngo 1.26.0\n")
	p.write(filepath.Join(p.project, "go.mod"), "module project\n\ngo 1.26.0\n\ntool "+path+"/cmd/sqlc-gen-quern\n\nrequire "+path+" v2.0.0\n\nreplace "+path+" => "+p.module+"\n")
	for _, dir := range []string{p.module, p.project} {
		for _, name := range []string{"sqlc.yaml", "queries/user.sql", "queries/stream.sql", "request.json"} {
			p.copyFile("testdata/full/"+name, filepath.Join(dir, name))
		}
	}
	return p
}

// ownImport matches the beginning of an import of this module.
var ownImport = regexp.MustCompile(`(?m)^(\t"|import ")quern/`)

func (p *plugged) copyFile(from, to string) {
	p.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		p.t.Fatal(err)
	}
	if strings.HasSuffix(from, ".go") {
		b = ownImport.ReplaceAll(b, []byte("${1}"+p.path+"/"))
	}
	p.write(to, string(b))
}

func (p *plugged) write(name, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// command returns a command that needs no network.
func (p *plugged) command(dir string, words ...string) *exec.Cmd {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off", "GOBIN="+p.project)
	return cmd
}

// run runs a command.
func (p *plugged) run(dir string, words ...string) {
	p.t.Helper()
	if out, err := p.command(dir, words...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v:\n%s", strings.Join(words, " "), err, out)
	}
}

// imports runs the plugin and returns the imports of registry.go.
func (p *plugged) imports(dir string, words ...string) []string {
	p.t.Helper()
	stdin, err := os.Open(filepath.Join(dir, "request.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer stdin.Close()
	cmd := p.command(dir, words...)
	cmd.Stdin, cmd.Stderr = stdin, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%s: %v", strings.Join(words, " "), err)
	}
	var answer response
	if err := json.Unmarshal(out, &answer); err != nil {
		p.t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(answer.Files[0].Contents), ")")
	return strings.Fields(head)
}

// TestRuntimePath builds the plugin in each way in which a project can get it. The
// generated code must import the runtime of the plugin's own module.
func TestRuntimePath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"quern", "example.com/fork/v2"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			p := newPlugged(t, path)
			own := path + "/cmd/sqlc-gen-quern"
			check := func(how, dir string, words ...string) {
				t.Helper()
				if got := p.imports(dir, words...); !slices.Contains(got, `"`+path+`/postgres"`) {
					t.Errorf("%s: it imports %v", how, got)
				}
			}
			check("go run", p.module, "go", "run", "./cmd/sqlc-gen-quern")
			p.run(p.module, "go", "build", "-o", p.project+"/built", own)
			check("go build", p.module, p.project+"/built")
			p.run(p.module, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", p.project+"/trimmed", own)
			check("go build -trimpath", p.module, p.project+"/trimmed")
			p.run(p.module, "sh", "-c", "go build -o '"+p.project+"/listed' cmd/sqlc-gen-quern/*.go")
			check("go build of files", p.module, p.project+"/listed")
			p.run(p.module, "go", "install", "./cmd/sqlc-gen-quern")
			check("go install", p.project, p.project+"/sqlc-gen-quern")
			if path == "quern" {
				return // no other module can require it, because its path has no dot
			}
			check("go run of a dependency", p.project, "go", "run", own)
			check("go tool", p.project, "go", "tool", "sqlc-gen-quern")
			p.run(p.project, "go", "mod", "vendor")
			p.run(p.project, "go", "build", "-mod=vendor", "-o", p.project+"/vendored", own)
			check("vendored", p.project, p.project+"/vendored")
			check("vendored go tool", p.project, "go", "tool", "sqlc-gen-quern")
		})
	}
}

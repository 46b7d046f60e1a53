package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse("Run it:\n\n```sh\nls\n\npwd\n```\n\nprose\n\n## Next\n\nIn `a/main.go`:\n\n```go\npackage main\n```\n\n`b`: not a name:\n\n```\n```\n")
	want := []block{
		{line: 4, language: "sh", text: "ls\n\npwd"},
		{line: 16, language: "go", file: "a/main.go", section: "Next", text: "package main"},
		{line: 22, section: "Next"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(block{})); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := parse("```sh\nls\n"); err == nil {
		t.Error("a block that is not closed is no error")
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		output, shown string
		want          bool
	}{
		{"ok\n", "ok", true},
		{"ok 0.12s\n", "ok …", true},
		{"a\nb\nc\nd\n", "a\n…\nd", true},
		{"a\nd\n", "a\n…\nd", true},
		{"a+b\n", "a+b", true},
		{"ok\nand more\n", "ok", false},
		{"before\nok\n", "ok", false},
		{"", "ok", false},
		{"a\n", "a\nb", false},
	} {
		if got := matches(tt.output, tt.shown); got != tt.want {
			t.Errorf("matches(%q, %q) is %t", tt.output, tt.shown, got)
		}
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	const text = "a\n\n\tb\nc\nc\n"
	got, err := patch(text, " a\n\n-\tb\n+\tB\n")
	if want := "a\n\n\tB\nc\nc\n"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, hunk := range []string{"-x\n", "-c\n", "?a\n"} {
		if got, err := patch(text, hunk); err == nil {
			t.Errorf("%q makes %q, want an error", hunk, got)
		}
	}
}

// page writes a page.
func page(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The folder and the variables of a block are there in the next one, and a file that it
// names is written where it ended.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	Run(t, Page{
		Dir: dir, Env: []string{"WHO=world"}, Replace: []string{"8080", "9090"}, File: page(t, "```sh\nmkdir sub\ncd sub\nexport GREETING='hello 8080'\n```\n\n"+
			"`to/name`:\n\n```text\na\nb\n```\n\n`to/name`:\n\n```diff\n-b\n+c\n```\n\n"+
			"```sh\necho \"$GREETING $WHO\" && cat to/name\n```\n\n```text\nhello 8080 …\na\nc\n```\n\n```sh\nfalse\n```\n"),
		Skip: map[string]string{"false": "it fails"},
	})
	if text, err := os.ReadFile(filepath.Join(dir, "sub/to/name")); err != nil || string(text) != "a\nc\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestRun_Sections(t *testing.T) {
	t.Parallel()
	file := page(t, "```sh\necho top >>ran\n```\n\n## A\n\n```sh\necho a >>ran\n```\n\n## B\n\n```sh\necho b >>ran\n```\n")
	for _, tt := range []struct {
		sections, without []string
		want              string
	}{
		{nil, nil, "top\na\nb\n"},
		{[]string{"B"}, nil, "b\n"},
		{nil, []string{"A"}, "top\nb\n"},
	} {
		dir := t.TempDir()
		Run(t, Page{File: file, Dir: dir, Sections: tt.sections, Without: tt.without})
		if got, err := os.ReadFile(filepath.Join(dir, "ran")); err != nil || string(got) != tt.want {
			t.Errorf("%q without %q ran %q, %v, want %q", tt.sections, tt.without, got, err, tt.want)
		}
	}
	if got := failureOf(t, Page{File: file, Dir: t.TempDir(), Sections: []string{"C"}}); !strings.Contains(got, `"C"`) {
		t.Errorf("a section that the page does not have: %q", got)
	}
}

// failing is a testing.TB that keeps the first failure. It runs in a separate goroutine,
// which Fatalf ends.
type failing struct {
	testing.TB
	failures chan string
}

func (f *failing) Errorf(format string, args ...any) { f.failures <- fmt.Sprintf(format, args...) }

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// failureOf returns the failure of a page.
func failureOf(t *testing.T, p Page) string {
	t.Helper()
	f := &failing{TB: t, failures: make(chan string, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(f, p)
	}()
	<-done
	select {
	case text := <-f.failures:
		return text
	default:
		return ""
	}
}

func TestRun_Fails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, page, want string }{
		{"Exit", "```sh\necho why\nfalse\n```\n", "why"},
		{"Pipe", "```sh\nfalse | true\n```\n", "exit status 1"},
		{"Output", "```sh\necho a\n```\n\n```text\nb\n```\n", "The page says\nb"},
		{"Diff", "`a`:\n\n```text\nx\n```\n\n`a`:\n\n```diff\n-y\n```\n", "0 times"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := failureOf(t, Page{Dir: t.TempDir(), File: page(t, tt.page)}); !strings.Contains(got, tt.want) {
				t.Errorf("the failure is %q, want %q in it", got, tt.want)
			}
		})
	}
	if got := failureOf(t, Page{Dir: t.TempDir(), File: page(t, ""), Skip: map[string]string{"ls": "why"}}); !strings.Contains(got, `"ls"`) {
		t.Errorf("a block that the page does not have: %q", got)
	}
}

// A server is used at the address that it prints, is replaced by the next one, and ends with
// the test.
func TestRun_Servers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const first, second = "echo http://127.0.0.1:1111 && sleep 600", "echo http://127.0.0.1:2222 && sleep 601"
	t.Run("Page", func(t *testing.T) {
		Run(t, Page{Dir: dir, Servers: map[string]string{first: "localhost:8080", second: "localhost:8080"}, File: page(t,
			"```sh\n"+first+"\n```\n\n```sh\necho localhost:8080 >first\n```\n\n```sh\n"+second+"\n```\n\n```sh\necho localhost:8080 >second\n```\n")})
	})
	for name, want := range map[string]string{"first": "127.0.0.1:1111\n", "second": "127.0.0.1:2222\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(processesIn(t, dir)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("these are left: %v", processesIn(t, dir))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// processesIn returns the processes whose folder is dir.
func processesIn(t *testing.T, dir string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == dir {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}

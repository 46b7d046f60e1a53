// Command mutate breaks the code on purpose, one break at a time, and checks
// that the test named beside the break fails. A test that still passes protects
// nothing.
//
// Run it in tools/, with regular expressions that select breaks by their file,
// test or reason:
//
//	go run ./mutate TestInTx import_
//
// It works on a copy of the repository. Breaks are in mutate/breaks, in the
// format that [parse] describes. The exit status is 1 if a test passed with its
// break, and 2 if a break does not apply or does not compile.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"quern/tools/internal/worktree"
)

func main() {
	list := flag.Bool("list", false, "print the selected breaks and check that they apply and that every test of docs/coverage.md has one, without running a test")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx = withParent(ctx)
	survived, err := run(ctx, *list, flag.Args())
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	case survived > 0:
		fmt.Fprintf(os.Stderr, "mutate: tests passed with %d breaks: add the missing assertion\n", survived)
		os.Exit(1)
	}
}

// withParent returns a context that also ends with the parent process. `go run`
// does not forward SIGTERM, so its program would continue without it.
func withParent(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(200 * time.Millisecond)
		}
		cancel()
	}()
	return ctx
}

// run applies the breaks that match all patterns and returns the number of
// breaks that no test noticed.
func run(ctx context.Context, list bool, patterns []string) (survived int, err error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	breaks, err := load(filepath.Join(root, "tools", "mutate", "breaks"))
	if err != nil {
		return 0, err
	}
	all := breaks
	if breaks, err = selected(breaks, patterns); err != nil {
		return 0, err
	}
	tree := root
	if !list {
		if tree, err = os.MkdirTemp("", "quern-mutate-"); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
		if err = worktree.Copy(ctx, root, tree); err != nil {
			return 0, err
		}
	}
	for _, b := range breaks {
		if list {
			fmt.Println(b)
			_, err = b.apply(tree)
		} else {
			var killed bool
			if killed, err = try(ctx, tree, b); !killed {
				survived++
			}
		}
		if err != nil {
			return survived, fmt.Errorf("%s: %w", b, err)
		}
	}
	if list {
		return 0, complete(root, all)
	}
	return survived, nil
}

// selected returns the breaks that every pattern matches.
func selected(breaks []breakage, patterns []string) ([]breakage, error) {
	for _, pattern := range patterns {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		var kept []breakage
		for _, b := range breaks {
			if b.matches(re) {
				kept = append(kept, b)
			}
		}
		breaks = kept
	}
	if len(breaks) == 0 {
		return nil, errors.New("no break matches")
	}
	return breaks, nil
}

// control matches the tests that need no break. Those that end in Naive or Wrong
// already contain a wrong variant, which they must report.
// TestCoverageNamesTests checks docs/coverage.md itself.
var control = regexp.MustCompile(`(Naive|Wrong)$|^TestCoverageNamesTests$`)

// complete checks that each test that docs/coverage.md names has a break, unless
// it is a control.
func complete(root string, breaks []breakage) error {
	coverage, err := os.ReadFile(filepath.Join(root, "docs", "coverage.md"))
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, b := range breaks {
		for _, t := range b.tests {
			top, _, _ := strings.Cut(t.name, "/")
			has[top], has[t.name] = true, true
		}
	}
	var missing []string
	for _, m := range regexp.MustCompile("`(Test[A-Za-z0-9_/]+)`").FindAllStringSubmatch(string(coverage), -1) {
		if !has[m[1]] && !control.MatchString(m[1]) {
			has[m[1]] = true
			missing = append(missing, m[1])
		}
	}
	if missing != nil {
		return fmt.Errorf("docs/coverage.md names tests without a break: add one to tools/mutate/breaks: %s", strings.Join(missing, ", "))
	}
	return nil
}

// try runs the tests of b in tree with b applied. It reports whether all of
// them failed or were skipped, prints one line for each, and restores the tree.
func try(ctx context.Context, tree string, b breakage) (killed bool, err error) {
	broken, err := b.apply(tree)
	if err != nil {
		return false, err
	}
	for name, content := range broken {
		path := filepath.Join(tree, name)
		original, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, os.WriteFile(path, original, 0o644)) }()
	}
	killed = true
	for _, t := range b.tests {
		start := time.Now()
		output, failed, err := t.run(ctx, tree)
		if err != nil {
			return false, fmt.Errorf("%w:\n%s", err, output)
		}
		result := "failed, as it should"
		switch {
		case failed:
		case t.skipped(output):
			result = "SKIPPED: this machine lacks what it needs, see its source"
		default:
			result, killed = "PASSED", false
		}
		fmt.Printf("%s: %s (%.0f s)\n", b, result, time.Since(start).Seconds())
	}
	return killed, nil
}

// kept matches the directory of databases that a failed test keeps.
var kept = regexp.MustCompile(`the databases of the failed tests are kept in (\S*/pgtest-failed-\S+)`)

// run runs the test and reports whether it failed. A test that does not
// compile or does not exist is an error.
func (t test) run(ctx context.Context, tree string) (output []byte, failed bool, err error) {
	// Vet is off, because it would fail before the test runs.
	args := []string{"test", "-count=1", "-timeout=5m", "-vet=off", "-v", "-run", t.pattern()}
	if t.race {
		args = append(args, "-race")
	}
	// The package may be the root of another module.
	dir, pkg := tree, t.pkg
	if _, err := os.Stat(filepath.Join(tree, pkg, "go.mod")); err == nil {
		dir, pkg = filepath.Join(tree, pkg), "."
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOFLAGS=-buildvcs=false"), t.env...)
	// If the go command ended before its test, the test would write to a tree that is removed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	output, err = cmd.CombinedOutput()
	for _, m := range kept.FindAllSubmatch(output, -1) {
		_ = os.RemoveAll(string(m[1])) // databases of the broken code, about 100 MB
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return output, false, ctx.Err()
	case bytes.Contains(output, []byte("[build failed]")), bytes.Contains(output, []byte("[setup failed]")):
		return output, false, errors.New("the break does not compile")
	case bytes.Contains(output, []byte("no tests to run")):
		return output, false, errors.New("no such test")
	case err == nil:
		return output, false, nil
	case errors.As(err, &exit):
		return output, true, nil
	}
	return output, false, err
}

// skipped reports whether the output says that the test was skipped.
func (t test) skipped(output []byte) bool {
	return bytes.Contains(output, []byte("--- SKIP: "+t.name+" "))
}

// pattern returns the regular expression that selects only this test.
func (t test) pattern() string {
	parts := strings.Split(t.name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

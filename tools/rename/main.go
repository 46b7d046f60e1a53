// Command rename changes the module's path everywhere in the repository: in
// imports, go.mod files, generated code, tests and documents.
//
//	go run ./rename example.com/acme/data
//
// It must run in the directory tools, and changes the files that git tracks.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: make rename module=HOST/PATH, such as module=example.com/acme/data")
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := rename("..", flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

// modulePath matches a path that `go get` can find: a host with a dot, and a
// path.
var modulePath = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9._~-]+)+$`)

// majorVersion matches the end of the path of a module with version 2 or later.
var majorVersion = regexp.MustCompile(`/v[0-9]+$`)

// rename replaces the path of the module in root with to.
func rename(root, to string) error {
	if !modulePath.MatchString(to) {
		return fmt.Errorf("%q is not a module path: use a host and a path, such as example.com/acme/data", to)
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	from, found := strings.CutPrefix(first, "module ")
	if !found {
		return errors.New("the first line of go.mod is not its module")
	}
	rules, err := rulesFor(root, from, to)
	if err != nil {
		return err
	}
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	names, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if err := rewrite(filepath.Join(root, name), rules); err != nil {
			return err
		}
	}
	return nil
}

// rule replaces the matches of a regular expression in the files with a matching
// name.
type rule struct {
	base        *regexp.Regexp // of the file's name
	old         *regexp.Regexp
	replacement string
}

func rulesFor(root, from, to string) ([]rule, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			folders = append(folders, regexp.QuoteMeta(e.Name()))
		}
	}
	slices.Sort(folders)
	old, any := regexp.QuoteMeta(from), regexp.MustCompile("")
	goFile, modFile, mdFile := regexp.MustCompile(`\.go$`), regexp.MustCompile(`^go\.mod$`), regexp.MustCompile(`\.md$`)
	// A go.mod that requires the module names its first version. The version has no
	// effect, because the module is replaced by a directory.
	first := "v0.0.0"
	if major := majorVersion.FindString(to); major != "" {
		first = strings.TrimPrefix(major, "/") + ".0.0"
	}
	return []rule{
		// A path below the module, followed by the end of a word.
		{any, regexp.MustCompile(`(^|[^\w./-])` + old + `/(` + strings.Join(folders, "|") + `)\b`), "${1}" + to + "/${2}"},
		// These match the package at the root, and the beginning of any path in code.
		{goFile, regexp.MustCompile(`(?m)^(\t|import )"` + old + `"$`), `${1}"` + to + `"`},
		{goFile, regexp.MustCompile("([\"|)])" + old + "/([\"|`])"), "${1}" + to + "/${2}"},
		// A command in a document that adds the module to another one.
		{mdFile, regexp.MustCompile(`-require=` + old + `@v0\.0\.0 -replace=` + old + `=`), "-require=" + to + "@" + first + " -replace=" + to + "="},
		{modFile, regexp.MustCompile(`(?m)^(module |replace |\t|require )` + old + `( |$)`), "${1}" + to + "${2}"},
		{modFile, regexp.MustCompile(`(?m)` + regexp.QuoteMeta(to) + ` v\d+\.0\.0$`), to + " " + first},
	}, nil
}

func rewrite(name string, rules []rule) error {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil // deleted, or a link
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	renamed := text
	for _, r := range rules {
		if r.base.MatchString(filepath.Base(name)) {
			// Twice, because adjacent matches share a character.
			renamed = r.old.ReplaceAll(r.old.ReplaceAll(renamed, []byte(r.replacement)), []byte(r.replacement))
		}
	}
	if string(renamed) == string(text) {
		return nil
	}
	return os.WriteFile(name, renamed, info.Mode())
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A corpus is the comments of some folders.
type corpus struct {
	name     string
	files    []string
	words    int
	comments []comment
}

// A comment is one group of comment lines, as the reader sees it: without
// markers, directives and code.
type comment struct {
	pos  token.Position
	text string
}

// models returns the codebases to compare with. Their versions are pinned, so
// that the limits change only if the versions do.
func models() ([]corpus, error) {
	var all []corpus
	for _, m := range []struct{ name, version string }{
		{"river", "github.com/riverqueue/river@v0.51.2"},
		{"pgx", "github.com/jackc/pgx/v5@v5.13.0"},
		{"goose", "github.com/pressly/goose/v3@v3.30.1"},
	} {
		out, err := exec.Command("go", "mod", "download", "-json", m.version).Output()
		var module struct{ Dir, Error string }
		if json.Unmarshal(out, &module) != nil || module.Dir == "" {
			return nil, fmt.Errorf("go mod download %s: %w: %s", m.version, err, module.Error)
		}
		c := corpus{name: m.name}
		if err := c.read(module.Dir, "./..."); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// read adds the comments of the folder in root. A folder that ends in /...
// includes those below it.
func (c *corpus) read(root, folder string) error {
	folder, deep := strings.CutSuffix(folder, "...")
	top := filepath.Join(root, folder)
	return filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			skipped := !deep || d.Name() == "testdata" || d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")
			if name != top && skipped {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil || ast.IsGenerated(f) {
			return err
		}
		c.files = append(c.files, name)
		for _, group := range f.Comments {
			pos := fset.Position(group.Pos())
			if pos.Filename, err = filepath.Rel(root, name); err != nil {
				return err
			}
			c.add(comment{pos: pos, text: sentences(group.Text())})
		}
		return nil
	})
}

// add adds a comment.
func (c *corpus) add(text comment) {
	c.words += len(strings.Fields(text.text))
	c.comments = append(c.comments, text)
}

// sentences returns text with its lines of code blanked: those that are
// indented.
func sentences(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "    ") {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

// count returns how often the row's word occurs.
func (c corpus) count(r row) (n int) {
	for _, text := range c.comments {
		n += len(r.matches(flat(text.text)))
	}
	return n
}

// rate returns how often the row's word occurs in 10,000 words.
func (c corpus) rate(r row) float64 {
	return float64(c.count(r)) * 10_000 / float64(max(c.words, 1))
}

// occurrences returns a line for each word to avoid, in the order of the files.
// The table shows whether there are too many colons, so they are left out.
func (c corpus) occurrences() (all []string) {
	type found struct {
		pos  token.Position
		text string
	}
	var list []found
	for _, r := range rows {
		if r.wanted || strings.HasPrefix(r.name, "colons") {
			continue
		}
		for _, text := range c.comments {
			for _, match := range r.matches(flat(text.text)) {
				pos := text.pos
				pos.Line += strings.Count(text.text[:match[0]], "\n")
				list = append(list, found{pos, fmt.Sprintf("%s: %s", r.name, around(text.text, match))})
			}
		}
	}
	slices.SortFunc(list, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.pos.Filename, b.pos.Filename), cmp.Compare(a.pos.Line, b.pos.Line))
	})
	for _, f := range list {
		all = append(all, fmt.Sprintf("%s:%d: %s", f.pos.Filename, f.pos.Line, f.text))
	}
	return all
}

// flat returns text with its line breaks as spaces: a phrase may cross them.
func flat(text string) string {
	return strings.ReplaceAll(text, "\n", " ")
}

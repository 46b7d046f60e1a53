// Package doctest runs the command blocks of a Markdown file from top to bottom, so
// that a page whose commands stopped working fails a test. It is for tests.
//
// Of the fenced blocks it takes these:
//
//   - any after a line such as "`main.go`:": the whole content of that file.
//   - diff after such a line: an edit of that file, whose hunks are separated by lines that
//     begin with @@. The lines that a hunk removes and those around them must be in the
//     file, once.
//   - sh: bash runs it. It must exit 0. Its folder and its variables are those that the
//     block before it left. A block of [Page.Servers] runs in the background.
//   - text, as the next block after an sh: its output, including standard error.
//     "…" matches anything in a line; a line of "…" alone matches any lines.
//
// Every other block is an illustration and is not used.
package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Page is a Markdown file and how to run it.
type Page struct {
	File string

	// Dir is the folder in which the first block runs. Named files are written in the
	// folder in which the block before them ended.
	Dir string

	// Env is added to the environment of every block.
	Env []string

	// Replace holds pairs of an old and a new text, which are replaced in every block,
	// such as a port. See strings.NewReplacer. Defaults to none.
	Replace []string

	// Servers are blocks that do not end by themselves, each with the address at which
	// the page says that it listens, such as "localhost:8080". A server must print its
	// real address as a URL, and then replaces the one that listened at the same address
	// of the page. Use a variable of Env to give it a free port.
	Servers map[string]string

	// Sections names the sections whose blocks are run, by their headings of level two.
	// Defaults to all. The part above the first heading has an empty name.
	Sections []string

	// Without names sections that are left out.
	Without []string

	// Skip are blocks that are not run, each with the reason.
	Skip map[string]string
}

// Run runs the blocks of a page. Its servers end with the test.
func Run(t testing.TB, p Page) {
	t.Helper()
	text, err := os.ReadFile(p.File)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", p.File, err)
	}
	blocks, err = p.choose(blocks)
	if err != nil {
		t.Fatalf("%s: %v", p.File, err)
	}
	s := newShell(t, p)
	unused := unusedBlocks(p)
	for i, b := range blocks {
		delete(unused, b.text)
		where := fmt.Sprintf("%s:%d", filepath.Base(p.File), b.line)
		if err := s.take(b, expected(blocks[i+1:])); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
	}
	for text := range unused {
		t.Errorf("%s has no block %q", p.File, text)
	}
}

// choose returns the blocks of the sections that are run.
func (p Page) choose(blocks []block) ([]block, error) {
	for _, name := range slices.Concat(p.Sections, p.Without) {
		if !slices.ContainsFunc(blocks, func(b block) bool { return b.section == name }) {
			return nil, fmt.Errorf("no section %q has a block", name)
		}
	}
	return slices.DeleteFunc(blocks, func(b block) bool {
		return slices.Contains(p.Without, b.section) || len(p.Sections) > 0 && !slices.Contains(p.Sections, b.section)
	}), nil
}

// unusedBlocks returns the blocks that the test names and has not met.
func unusedBlocks(p Page) map[string]bool {
	unused := map[string]bool{}
	for text := range p.Servers {
		unused[text] = true
	}
	for text := range p.Skip {
		unused[text] = true
	}
	return unused
}

// expected returns the output of a block according to the page, or nil if the page has none.
func expected(next []block) *string {
	if len(next) == 0 || next[0].language != "text" || next[0].file != "" {
		return nil
	}
	return &next[0].text
}

// take runs a block.
func (s *shell) take(b block, prints *string) error {
	switch {
	case b.file != "" && b.language == "diff":
		return s.edit(b)
	case b.file != "":
		return s.write(b.file, s.replacer.Replace(b.text)+"\n")
	case b.language == "sh":
		if _, skipped := s.page.Skip[b.text]; skipped {
			return nil
		}
		return s.sh(b.text, prints)
	}
	return nil
}

// write writes a file below the folder in which the last block ended.
func (s *shell) write(name, text string) error {
	file := filepath.Join(s.cwd(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// edit applies the hunks of a diff.
func (s *shell) edit(b block) error {
	content, err := os.ReadFile(filepath.Join(s.cwd(), b.file))
	if err != nil {
		return err
	}
	text := string(content)
	var hunk strings.Builder
	for _, line := range append(strings.Split(s.replacer.Replace(b.text), "\n"), "@@") {
		if !strings.HasPrefix(line, "@@") {
			hunk.WriteString(line + "\n")
			continue
		}
		if hunk.Len() == 0 {
			continue
		}
		if text, err = patch(text, hunk.String()); err != nil {
			return fmt.Errorf("%s: %w", b.file, err)
		}
		hunk.Reset()
	}
	return s.write(b.file, text)
}

// patch applies one hunk of a diff.
func patch(text, hunk string) (string, error) {
	var before, after strings.Builder
	for line := range strings.Lines(hunk) {
		mark, rest := line[0], line[1:]
		if mark == '\n' { // an empty line of the context whose space was trimmed
			mark, rest = ' ', line
		}
		if !slices.Contains([]byte(" -+"), mark) {
			return "", fmt.Errorf("a line of a diff begins with a space, - or +: %q", line)
		}
		if mark != '+' {
			before.WriteString(rest)
		}
		if mark != '-' {
			after.WriteString(rest)
		}
	}
	if n := strings.Count(text, before.String()); n != 1 {
		return "", fmt.Errorf("the file has these lines %d times, want once:\n%s", n, before.String())
	}
	return strings.Replace(text, before.String(), after.String(), 1), nil
}

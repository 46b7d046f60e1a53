package quern_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// page is a Markdown file: its headings by level, and its text without code.
type page struct {
	headings []heading
	text     string
}

type heading struct {
	level int
	title string // as written, without the number signs
	body  string // the text up to the next heading
}

// readPage splits a Markdown file. Code blocks and code spans have no headings and no links.
func readPage(t *testing.T, name string) page {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var p page
	var text strings.Builder
	fenced := false
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    "):
		case strings.HasPrefix(line, "#"):
			title := strings.TrimLeft(line, "#")
			p.headings = append(p.headings, heading{level: len(line) - len(title), title: strings.TrimSpace(title)})
		default:
			text.WriteString(line)
			if n := len(p.headings); n > 0 {
				p.headings[n-1].body += line
			}
		}
	}
	p.text = regexp.MustCompile("`[^`]*`").ReplaceAllString(text.String(), "`")
	return p
}

// anchor returns the fragment that GitHub gives a heading.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, title)
}

// anchors returns the fragments of a page. A heading that occurs again gets a number.
func (p page) anchors() map[string]bool {
	all := map[string]bool{}
	for _, h := range p.headings {
		name := anchor(h.title)
		for n := 1; all[name]; n++ {
			name = anchor(h.title) + "-" + strconv.Itoa(n)
		}
		all[name] = true
	}
	return all
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestDocs_Links checks every relative link of every Markdown file: the file exists, and so does the
// heading that a fragment names.
func TestDocs_Links(t *testing.T) {
	t.Parallel()
	links := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".github" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		for _, m := range link.FindAllStringSubmatch(readPage(t, name).text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			file, fragment, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			} else if fragment != "" && !readPage(t, target).anchors()[fragment] {
				t.Errorf("%s links to %s: %s has no such heading", name, m[1], target)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links == 0 {
		t.Error("no link was found")
	}
}

// TestDocs_Index checks that the index of a page lists each of its entries, once and in order.
func TestDocs_Index(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"docs/decisions.md", "docs/failures.md"} {
		p := readPage(t, name)
		var index, entries []string
		for _, h := range p.headings {
			// No text but the index consists of links to this page.
			for _, m := range regexp.MustCompile(`(?m)^- \[.*\]\(#(.*)\)$`).FindAllStringSubmatch(h.body, -1) {
				index = append(index, m[1])
			}
			if h.level == 3 {
				entries = append(entries, anchor(h.title))
			}
		}
		if diff := cmp.Diff(entries, index); diff != "" {
			t.Errorf("the index of %s (-entries +index):\n%s", name, diff)
		}
	}
}

// TestDocs_Decisions checks that each record of docs/decisions.md has a date, a context, a decision and
// consequences.
func TestDocs_Decisions(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`(?s)^\n\*\d{1,2} \w+ \d{4}.*\*\n\n\*\*Context\.\*\* .*\n\n\*\*Decision\.\*\* .*\n\n\*\*Consequences\.\*\*\s`)
	for _, h := range readPage(t, "docs/decisions.md").headings {
		if h.level == 3 && !form.MatchString(h.body) {
			t.Errorf("the record %q has no date, context, decision and consequences in this order", h.title)
		}
	}
}

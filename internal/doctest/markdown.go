package doctest

import (
	"fmt"
	"regexp"
	"strings"
)

// block is a fenced block.
type block struct {
	line     int    // of its first line in the page
	language string // the word after the fence
	file     string // the file that the line before it names, or empty
	section  string // the last heading of level two above it, or empty
	text     string
}

// named matches the line before the block of a file, such as "`main.go`:" or "In `main.go`:".
var named = regexp.MustCompile("^(?:.* )?`([\\w./-]+)`:$")

// parse returns the fenced blocks of a page.
func parse(page string) (blocks []block, err error) {
	before, section := "", "" // the last line that is not empty, and the last heading
	var open *block
	for i, line := range strings.Split(page, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case open == nil && isFence:
			open = &block{line: i + 2, language: strings.TrimSpace(fence), section: section}
			if m := named.FindStringSubmatch(before); m != nil {
				open.file = m[1]
			}
		case isFence && fence == "":
			open.text = strings.TrimSuffix(open.text, "\n")
			blocks = append(blocks, *open)
			open, before = nil, ""
		case open != nil:
			open.text += line + "\n"
		case strings.TrimSpace(line) != "":
			before = line
			if title, ok := strings.CutPrefix(line, "## "); ok {
				section = title
			}
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block is not closed", open.line)
	}
	return blocks, nil
}

// matches reports whether the output of a block is as its page shows it.
func matches(output, shown string) bool {
	var pattern strings.Builder
	pattern.WriteString(`\A\s*`)
	for line := range strings.SplitSeq(strings.TrimSpace(shown), "\n") {
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(strings.TrimRight(line, " "), "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern.WriteString(strings.Join(parts, ".*") + `[ \t]*\n`)
	}
	pattern.WriteString(`\s*\z`)
	return regexp.MustCompile(pattern.String()).MatchString(output + "\n")
}

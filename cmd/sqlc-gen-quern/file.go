package main

import (
	"fmt"
	"slices"
	"strings"
)

// queryFile is a query file that is checked against sqlc's way of reading it. sqlc splits
// the file at its semicolons. In each part it removes whole lines as comments: those that
// begin with --, those that begin with #, and those that begin with /* and end with */,
// wherever they are.
type queryFile struct {
	sqlFile
	parts    []part
	problems []problem
}

// part is a statement with the comments before it.
type part struct {
	name       string
	line       int // of its first token
	from       int // after the semicolon before it
	start, end int // of its text, without surrounding blanks
	tokens     []located
	previous   string // the name of the part before it
}

// readFile splits a query file into its parts.
func readFile(src sqlFile) *queryFile {
	f := &queryFile{sqlFile: src}
	var p part
	add := func(end int) {
		raw := src.text[p.from:end]
		p.start = end - len(strings.TrimLeft(raw, " \t\r\n\f\v"))
		p.end = p.start + len(strings.TrimSpace(raw))
		p.name = queryName(raw)
		if len(p.tokens) > 0 {
			p.line = f.lineOf(p.tokens[0].start)
		}
		f.parts = append(f.parts, p)
	}
	for _, t := range locate(src.text) {
		if t.is(";") {
			add(t.start)
			p = part{from: t.end, previous: p.name}
			continue
		}
		p.tokens = append(p.tokens, t)
	}
	add(len(src.text))
	return f
}

// queryName returns the name that sqlc finds in the text of a part.
func queryName(raw string) string {
	for line := range strings.Lines(raw) {
		if words := strings.Fields(line); (strings.HasPrefix(line, "-- name: ") || strings.HasPrefix(line, "/* name: ")) && len(words) > 2 {
			return words[2]
		}
	}
	return ""
}

func (f *queryFile) lineOf(offset int) int { return 1 + strings.Count(f.text[:offset], "\n") }

// problemf adds a problem at a line.
func (f *queryFile) problemf(line int, format string, args ...any) {
	f.problems = append(f.problems, problem{where: fmt.Sprintf("%s:%d", f.path, line), text: fmt.Sprintf(format, args...)})
}

// check checks a part against sqlc's way of reading it.
func (f *queryFile) check(p part) {
	code := slices.IndexFunc(p.tokens, func(t located) bool { return t.kind != comment })
	if code >= 0 && p.name == "" {
		f.problemf(f.lineOf(p.tokens[code].start), "sqlc omits a statement without a name: put -- name: NAME :one (or another kind) on a separate line above it")
	}
	for _, t := range p.tokens {
		if t.kind != comment {
			continue
		}
		offset := t.start
		for line := range strings.Lines(f.text[t.start:t.end]) {
			if name := likeDirective(line); name != "" {
				f.checkDirective(p, code, t, name, offset)
			}
			offset += len(line)
		}
	}
	if p.name != "" {
		f.checkLines(p)
	}
}

// likeDirective returns the directive that a comment line seems to have. It is the first
// word, after any decoration of the line.
func likeDirective(line string) string {
	name, _, _ := directive(strings.TrimLeft(line, "-/*#|!> \t"))
	return strings.TrimSuffix(name, "*/")
}

// checkDirective refuses a directive that sqlc does not collect, or that it collects for
// another statement.
func (f *queryFile) checkDirective(p part, code int, t located, name string, offset int) {
	line := f.lineOf(offset)
	_, _, collected := directive(t.text)
	switch {
	case p.previous != "" && !strings.Contains(f.text[p.from:t.start], "\n"):
		f.problemf(line, "%s is after the semicolon of %s, so sqlc does not assign it to that query: move it above -- name: %s", name, p.previous, p.previous)
	case code < 0:
		f.problemf(line, "%s is after the last statement, where sqlc does not collect it: move it above -- name:", name)
	case t.start > p.tokens[code].start:
		f.problemf(line, "%s is inside the statement%s, where sqlc does not collect it: move it above -- name:", name, of(p.name))
	case strings.Contains(t.text, "\n"):
		f.problemf(line, "%s is in a block comment of several lines, which sqlc does not collect: write -- %s", name, name)
	case !f.startsLine(p, t.start), !f.endsLine(t.end):
		f.problemf(line, "%s is not at the start of a line, the only place where sqlc collects it: write -- %s on a separate line", name, name)
	case !collected:
		f.problemf(line, "%s is not the first word of its comment: write -- %s, or begin the line with another word", name, name)
	}
}

func of(name string) string {
	if name == "" {
		return ""
	}
	return " " + name
}

// startsLine reports whether sqlc sees a line that starts at the offset. sqlc trims the
// part.
func (f *queryFile) startsLine(p part, offset int) bool {
	return offset == p.start || f.text[offset-1] == '\n'
}

func (f *queryFile) endsLine(offset int) bool {
	rest, _, _ := strings.Cut(f.text[offset:], "\n")
	return strings.Trim(rest, "\r") == ""
}

// checkLines refuses lines that sqlc removes as comments although they belong to the
// statement. They are part of a literal, of a longer comment, or of an expression with the
// operator #.
func (f *queryFile) checkLines(p part) {
	names := 0
	offset := p.start
	for text := range strings.Lines(f.text[p.start:p.end]) {
		start, end := offset, offset+len(strings.TrimRight(text, "\r\n"))
		offset += len(text)
		line := f.text[start:end]
		mark := removed(line)
		if mark == "" {
			continue
		}
		if strings.HasPrefix(line, "-- name:") || strings.HasPrefix(line, "/* name:") {
			names++
		}
		for _, t := range p.tokens {
			within := t.start >= start && t.end <= end
			around := t.start < start && t.end > end
			switch {
			case t.end <= start || t.start >= end, t.kind == comment && (within || around):
				continue
			case t.kind == literal || t.kind == quoted:
				f.problemf(f.lineOf(start), "%s: this line of a string begins with %s, so sqlc removes it as a comment: write the string differently, such as E'…\\n%s…'", p.name, mark, mark)
			default:
				f.problemf(f.lineOf(start), "%s: sqlc removes this line as a comment because it begins with %s: indent it", p.name, mark)
			}
			break
		}
	}
	if names > 1 {
		f.problemf(p.line, "%s: %d lines -- name: before one semicolon, but sqlc uses only the first: end each statement with a semicolon, and give each one name", p.name, names)
	}
}

// removed returns the prefix that makes sqlc remove a line from a statement, or "".
func removed(line string) string {
	switch {
	case strings.HasPrefix(line, "--"):
		return "--"
	case strings.HasPrefix(line, "#"):
		return "#"
	case strings.HasPrefix(line, "/*") && strings.HasSuffix(line, "*/") && !strings.HasPrefix(line, "/*+"):
		return "/*"
	}
	return ""
}

package rehearse

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/mfridman/interpolate"
	"github.com/pressly/goose/v3"
)

// File is one migration.
type File struct {
	Name     string
	Version  int64
	NoTx     bool // its statements are not run in one transaction
	Up, Down []Statement
	// AllowDown is the reason why Down need not restore the schema.
	AllowDown string
}

// Statement is one statement of a migration, as goose sends it.
type Statement struct {
	SQL   string
	Line  int
	Allow map[string]string // the rules from which a comment exempts it, with the reasons
}

// allow matches a comment that exempts a statement from a rule.
var allow = regexp.MustCompile(`^\s*--\s*quern:allow\b\s*([a-z-]*)\s*:?\s*(.*)$`)

// Files returns the migrations above a version, in their order.
func Files(dir fs.FS, from int64) (list []File, err error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil || version <= from {
			continue // not a migration, or applied
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		f, err := Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.Name, f.Version = name, version
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b File) int { return int(a.Version - b.Version) })
	return list, nil
}

// parser splits a file into statements as goose does. goose's own parser is internal and drops
// the comments.
type parser struct {
	file    File
	section *[]Statement // nil before Up
	whole   bool         // between StatementBegin and StatementEnd
	envsub  bool
	text    strings.Builder
	line    int // of the statement's first line
	allow   map[string]string
}

// Parse reads the text of a goose file.
func Parse(text string) (File, error) {
	p := &parser{allow: map[string]string{}}
	for i, line := range strings.Split(text, "\n") {
		if err := p.read(strings.TrimSuffix(line, "\r"), i+1); err != nil {
			return p.file, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if strings.TrimSpace(p.text.String()) != "" {
		return p.file, fmt.Errorf("line %d: the statement has no semicolon at its end", p.line)
	}
	if p.section == nil {
		return p.file, fmt.Errorf("no line `-- +goose Up`")
	}
	p.file.AllowDown = p.allow[RuleDown]
	return p.file, nil
}

func (p *parser) read(line string, n int) error {
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "--") && strings.Contains(line, "+goose") {
		return p.annotation(strings.ToLower(strings.TrimSpace(strings.Replace(strings.ReplaceAll(line, "--", ""), "+goose", "", 1))))
	}
	if err := p.allowed(line); err != nil {
		return err
	}
	if p.text.Len() == 0 {
		if strings.HasPrefix(trimmed, "--") || line == "" || p.section == nil {
			return nil
		}
		if trimmed != "" {
			p.line = n
		}
	}
	if p.envsub {
		var err error
		if line, err = interpolate.Expand(line, interpolate.LookupFunc(os.LookupEnv)); err != nil {
			return fmt.Errorf("variable substitution: %w", err)
		}
	}
	if p.line == 0 && trimmed != "" {
		p.line = n
	}
	p.text.WriteString(line + "\n")
	if !p.whole && endsStatement(line) {
		p.end()
	}
	return nil
}

// allowed reads a comment that exempts Down or the statement below it.
func (p *parser) allowed(line string) error {
	m := allow.FindStringSubmatch(line)
	switch {
	case m == nil:
		return nil
	case !slices.Contains(Rules, m[1]):
		return fmt.Errorf("quern:allow %s: not a rule: write `-- quern:allow RULE: REASON` with one of %s", m[1], strings.Join(Rules, ", "))
	case m[2] == "":
		return fmt.Errorf("quern:allow %s: no reason: write `-- quern:allow %s: REASON`", m[1], m[1])
	}
	p.allow[m[1]] = m[2]
	return nil
}

func (p *parser) annotation(command string) error {
	switch command {
	case "up":
		p.section = &p.file.Up
	case "down":
		p.section = &p.file.Down
	case "statementbegin":
		p.whole = true
	case "statementend":
		p.whole = false
		p.end()
	case "no transaction":
		p.file.NoTx = true
	case "envsub on", "envsub off":
		p.envsub = command == "envsub on"
	default:
		return fmt.Errorf("goose has no annotation %q", command)
	}
	return nil
}

// end ends a statement.
func (p *parser) end() {
	if sql := strings.TrimSpace(p.text.String()); sql != "" {
		s := Statement{SQL: sql, Line: p.line, Allow: map[string]string{}}
		for rule, reason := range p.allow {
			if rule != RuleDown {
				s.Allow[rule] = reason
				delete(p.allow, rule)
			}
		}
		*p.section = append(*p.section, s)
	}
	p.text.Reset()
	p.line = 0
}

// endsStatement reports whether the last word before a comment ends with a semicolon.
func endsStatement(line string) bool {
	last := ""
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "--") {
			break
		}
		last = word
	}
	return strings.HasSuffix(last, ";")
}

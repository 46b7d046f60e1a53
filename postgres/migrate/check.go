package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pressly/goose/v3"
)

// maxLine is the longest line that goose reads.
const maxLine = 4 << 20

// checkFiles refuses files that goose would not read, or would split into
// statements at the wrong places, before any of them is applied. Its error names
// all such files.
func checkFiles(files fs.FS) error {
	if files == nil {
		return errors.New("Config.FS is nil: set it to the file system that holds them")
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return err
	}
	var all []error
	for _, name := range names {
		if _, err := goose.NumericComponent(name); err != nil {
			continue // not a migration
		}
		text, err := fs.ReadFile(files, name)
		if err == nil {
			err = checkFile(text)
		}
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(all...)
}

var upAnnotation = regexp.MustCompile(`(?im)^\s*--\s*\+goose\s+up\b`)

func checkFile(text []byte) error {
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return errors.New("it begins with a byte order mark: save it as UTF-8 without BOM")
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")), bytes.IndexByte(text, 0) >= 0:
		return errors.New("it is UTF-16, or not text: save it as UTF-8 without BOM")
	case !utf8.Valid(text):
		return errors.New("it is not UTF-8: save it as UTF-8 without BOM")
	}
	if !upAnnotation.Match(text) && len(bytes.TrimSpace(text)) > 0 {
		return errors.New("it has no line -- +goose Up: begin the file with it, because these are goose migrations")
	}
	s := &scanner{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if len(line) > maxLine {
			return fmt.Errorf("line %d has %d bytes, but goose reads at most %d: break it into several lines", n, len(line), maxLine)
		}
		if !s.line(strings.TrimRight(line, "\r\n"), n) {
			return fmt.Errorf("line %d: the statement that begins in line %d is cut here, inside %s, because goose ends a statement at each line that ends with a semicolon: "+
				"write -- +goose StatementBegin before it and -- +goose StatementEnd after it", n, s.first, s.inside())
		}
	}
	return nil
}

// scanner splits a migration like goose (its parser.go), and its statements like
// PostgreSQL's lexer (PostgreSQL manual, 4.1).
type scanner struct {
	whole bool // between StatementBegin and StatementEnd, where goose does not split
	first int  // the line on which the statement begins; 0 between statements

	quote    string // the delimiter that ends the literal, quoted name or comment; empty outside of them
	escapes  bool   // a backslash escapes in it
	comments int    // depth of block comments
	parens   int
	atomic   int    // depth of BEGIN ATOMIC and of CASEs inside it
	word     string // the last word, if at most spaces have followed it
	apart    bool   // at least one space has followed it
}

// line reads one line. It returns false if goose ends the statement at the end
// of the line but PostgreSQL does not.
func (s *scanner) line(line string, n int) bool {
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "--") && strings.Contains(line, "+goose") {
		switch annotation := strings.ToLower(line); {
		case strings.Contains(annotation, "statementbegin"):
			s.whole = true
		case strings.Contains(annotation, "statementend"):
			*s = scanner{}
		}
		return true
	}
	if s.whole || s.first == 0 && (trimmed == "" || strings.HasPrefix(trimmed, "--")) {
		return true
	}
	if s.first == 0 {
		s.first = n
	}
	s.scan(line + "\n")
	if !cutByGoose(line) {
		return true
	}
	if s.inside() != "" {
		return false
	}
	*s = scanner{}
	return true
}

// cutByGoose reports whether the last word before a comment ends with a semicolon.
func cutByGoose(line string) bool {
	last := ""
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "--") {
			break
		}
		last = word
	}
	return strings.HasSuffix(last, ";")
}

// inside names the construct at the current position, or "" between statements.
func (s *scanner) inside() string {
	switch {
	case s.comments > 0:
		return "a comment"
	case strings.HasPrefix(s.quote, "$"), s.atomic > 0:
		return "the body of a function or a DO"
	case s.quote != "":
		return "a string"
	case s.parens > 0:
		return "parentheses"
	}
	return ""
}

var (
	dollarQuote = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)
	sqlWord     = regexp.MustCompile(`^[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*`)
)

func (s *scanner) scan(text string) {
	for text != "" {
		text = text[s.token(text):]
	}
}

// token reads one token, or one byte of a literal, and returns its length.
func (s *scanner) token(text string) int {
	switch {
	case s.comments > 0:
		return s.comment(text)
	case s.quote != "":
		return s.literal(text)
	case strings.HasPrefix(text, "--"):
		return len(text) // a line comment cannot contain another line end
	case strings.HasPrefix(text, "/*"):
		s.comments = 1
		return 2
	}
	if word := sqlWord.FindString(text); word != "" {
		s.keyword(strings.ToLower(word))
		return len(word)
	}
	if tag := dollarQuote.FindString(text); tag != "" {
		s.quote, s.escapes = tag, false
		return len(tag)
	}
	switch text[0] {
	case ' ', '\t', '\n':
		s.apart = true
		return 1
	case '\'', '"':
		s.quote, s.escapes = text[:1], text[0] == '\'' && s.word == "e" && !s.apart
	case '(':
		s.parens++
	case ')':
		s.parens--
	}
	s.word = ""
	return 1
}

func (s *scanner) comment(text string) int {
	switch {
	case strings.HasPrefix(text, "/*"):
		s.comments++
		return 2
	case strings.HasPrefix(text, "*/"):
		s.comments--
		return 2
	}
	return 1
}

// literal reads inside quotes. A doubled quote counts as an end and a new
// beginning.
func (s *scanner) literal(text string) int {
	switch {
	case s.escapes && text[0] == '\\' && len(text) > 1:
		return 2
	case strings.HasPrefix(text, s.quote):
		n := len(s.quote)
		if s.escapes && strings.HasPrefix(text, "''") {
			return 2 // the next part has escapes, too
		}
		s.quote = ""
		return n
	}
	return 1
}

func (s *scanner) keyword(word string) {
	switch {
	case word == "atomic" && s.word == "begin":
		s.atomic = 1
	case word == "case" && s.atomic > 0:
		s.atomic++
	case word == "end" && s.atomic > 0:
		s.atomic--
	}
	s.word, s.apart = word, false
}

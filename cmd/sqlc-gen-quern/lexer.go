package main

import "strings"

type tokenKind int

const (
	word    tokenKind = iota // a keyword or an unquoted name, in lower case
	quoted                   // a "quoted name", without its quotes
	literal                  // a string in any notation, a number, or $1
	symbol                   // any other single byte
	comment                  // without its delimiters
)

type token struct {
	kind tokenKind
	text string
}

func (t token) is(text string) bool {
	return (t.kind == word || t.kind == symbol) && t.text == text
}

// lex splits a statement into tokens by PostgreSQL's rules (Lexical Structure,
// chapter 4.1), with standard_conforming_strings on. It accepts any text. An
// unclosed token ends at the end of the text.
func lex(sql string) []token {
	var tokens []token
	for _, t := range locate(sql) {
		tokens = append(tokens, t.token)
	}
	return tokens
}

// located is a token and its position in the text.
type located struct {
	token
	start, end int
}

// locate is like lex, but returns the tokens with their positions.
func locate(sql string) []located {
	var tokens []located
	for at := 0; at < len(sql); {
		if sql[at] <= ' ' {
			at++
			continue
		}
		t, size := next(sql[at:])
		tokens = append(tokens, located{t, at, at + size})
		at += size
	}
	return tokens
}

// next reads the token that sql starts with and returns its length.
func next(sql string) (token, int) {
	c := sql[0]
	switch {
	case strings.HasPrefix(sql, "--"):
		size := span(sql, func(c byte) bool { return c != '\n' && c != '\r' })
		return token{comment, sql[2:size]}, size
	case strings.HasPrefix(sql, "/*"):
		size := blockComment(sql)
		return token{comment, strings.TrimSuffix(sql[2:size], "*/")}, size
	case c == '\'':
		size := closing(sql, '\'', false)
		return token{literal, sql[:size]}, size
	case (c == 'e' || c == 'E') && len(sql) > 1 && sql[1] == '\'':
		size := 1 + closing(sql[1:], '\'', true)
		for {
			// A literal that continues after a line break keeps its escapes.
			gap := continuation(sql[size:])
			if gap == 0 {
				return token{literal, sql[:size]}, size
			}
			size += gap + closing(sql[size+gap:], '\'', true)
		}
	case c == '"':
		size := closing(sql, '"', false)
		name := strings.TrimSuffix(sql[1:size], `"`)
		return token{quoted, strings.ReplaceAll(name, `""`, `"`)}, size
	case c == '$':
		if size := dollarString(sql); size > 0 {
			return token{literal, sql[:size]}, size
		}
		size := 1 + span(sql[1:], isDigit)
		return token{literal, sql[:size]}, size
	case isDigit(c):
		size := span(sql, isDigit)
		return token{literal, sql[:size]}, size
	case isNameStart(c):
		size := span(sql, isName)
		return token{word, lower(sql[:size])}, size
	}
	return token{symbol, sql[:1]}, 1
}

// closing returns the length of the quoted text that s starts with. A doubled
// quote is a literal quote, and in a string with escapes (E) any character
// after a backslash is literal.
func closing(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// continuation returns the length of the blanks and comments, including a line
// break, before the next part of a literal. It returns 0 if there is no next
// part.
func continuation(s string) int {
	line, size := false, 0
	for size < len(s) {
		switch {
		case strings.HasPrefix(s[size:], "--"):
			size += span(s[size:], func(c byte) bool { return c != '\n' && c != '\r' })
		case s[size] == '\n', s[size] == '\r':
			line = true
			size++
		case s[size] <= ' ':
			size++
		case s[size] == '\'' && line:
			return size
		default:
			return 0
		}
	}
	return 0
}

// lower folds a name as PostgreSQL does, which changes ASCII only.
// strings.ToLower would turn the Kelvin sign into a k.
func lower(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

// blockComment returns the length of the comment that s starts with. Unlike in
// C, comments nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i++
		case strings.HasPrefix(s[i:], "*/"):
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// dollarString returns the length of the $tag$…$tag$ that s starts with, or 0.
func dollarString(s string) int {
	size := 1
	if size < len(s) && isNameStart(s[size]) {
		size += span(s[size:], func(c byte) bool { return isName(c) && c != '$' })
	}
	if size >= len(s) || s[size] != '$' {
		return 0
	}
	tag := s[:size+1]
	if end := strings.Index(s[len(tag):], tag); end >= 0 {
		return len(tag) + end + len(tag)
	}
	return len(s)
}

func span(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isNameStart reports whether a name can start with c. PostgreSQL accepts every
// byte of a multibyte character as a letter.
func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func isName(c byte) bool { return isNameStart(c) || isDigit(c) || c == '$' }

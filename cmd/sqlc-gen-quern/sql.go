package main

import (
	"slices"
	"strings"
)

// facts are the properties that the text of a statement shows without knowledge
// of the schema.
type facts struct {
	writes    []string // the clauses that write or lock, as a problem names them
	inserts   []string // the tables of its INSERTs
	doNothing int      // the number of ON CONFLICT DO NOTHING
}

// frame is a pair of parentheses, or the whole statement.
type frame struct {
	call string // the function whose arguments it contains
	head string // its first word
	verb string // the verb of the statement in it, such as select or insert
}

var verbs = []string{"select", "insert", "update", "delete", "merge", "values", "table"}

// readers are the first words of statements that only read.
var readers = []string{"select", "with", "values", "table", "show", "("}

// analyse finds the effects of a statement by the position of its words. INSERT
// may begin a statement or be a column's name, and only the former writes.
func analyse(sql string) facts {
	var f facts
	tokens := tokensOf(sql)
	at := func(i int) token {
		if i < 0 || i >= len(tokens) {
			return token{kind: symbol}
		}
		return tokens[i]
	}
	frames := []frame{{}}
	for i, t := range tokens {
		top := &frames[len(frames)-1]
		first := top.head == ""
		if first {
			top.head = t.text
			if t.kind == quoted || t.kind == literal {
				top.head = "expression"
			}
		}
		before := at(i - 1)
		switch {
		case t.is("("):
			call := ""
			if before.kind == word || before.kind == quoted {
				call = before.text
			}
			if writingFunction(call) {
				f.writes = append(f.writes, call+"()")
			}
			frames = append(frames, frame{call: call})
		case t.is(")") && len(frames) > 1:
			frames = frames[:len(frames)-1]
		case t.kind != word, before.is("as"), before.is("."):
			// An operator, a literal, or a name after words that a name must follow.
			// None of them is a keyword.
		default:
			if first || top.head == "with" && top.verb == "" && !namesCTE(before) {
				if slices.Contains(verbs, t.text) && (len(frames) == 1 || startsStatement(tokens[i:])) {
					top.verb = t.text
					f.addVerb(t.text, tokens[i:])
				}
			}
			f.addKeyword(*top, t.text, at(i+1), at(i+2))
		}
	}
	if head := frames[0].head; !slices.Contains(readers, head) && len(f.writes) == 0 {
		f.writes = append(f.writes, strings.ToUpper(head))
	}
	return f
}

// namesCTE reports whether a WITH query's name may follow the token. That name
// may be any word that is not reserved, even "update".
func namesCTE(before token) bool {
	return before.is("with") || before.is("recursive") || before.is(",")
}

// startsStatement distinguishes a statement in parentheses from an expression
// that begins with a column of such a name, as in count(update).
func startsStatement(tokens []token) bool {
	second := token{kind: symbol}
	if len(tokens) > 1 {
		second = tokens[1]
	}
	switch tokens[0].text {
	case "insert", "merge":
		return second.is("into")
	case "delete":
		return second.is("from")
	case "update":
		depth := 0
		for _, t := range tokens {
			switch {
			case t.is("("):
				depth++
			case t.is(")"):
				depth--
			case t.is("set") && depth == 0:
				return true
			}
			if depth < 0 {
				break
			}
		}
		return false
	}
	return true
}

func (f *facts) addVerb(verb string, tokens []token) {
	switch verb {
	case "insert":
		f.inserts = append(f.inserts, target(tokens))
		f.writes = append(f.writes, "INSERT")
	case "update", "delete", "merge":
		f.writes = append(f.writes, strings.ToUpper(verb))
	}
}

// target reads the table of INSERT INTO table.
func target(tokens []token) string {
	name := ""
	for _, t := range tokens[min(2, len(tokens)):] {
		if t.kind != word && t.kind != quoted && !t.is(".") {
			break
		}
		if len(name) > 0 && !t.is(".") && !strings.HasSuffix(name, ".") {
			break // INSERT INTO table AS alias
		}
		name += t.text
	}
	return strings.TrimPrefix(name, "public.")
}

// addKeyword records clauses that write or lock in the middle of a statement.
// one and two are the tokens after the word.
func (f *facts) addKeyword(in frame, text string, one, two token) {
	switch text {
	case "into":
		if in.verb == "select" {
			f.writes = append(f.writes, "SELECT INTO")
		}
	case "for":
		// substring(name FOR share) uses FOR with an expression.
		if in.call == "substring" || in.call == "overlay" {
			return
		}
		switch {
		case one.is("update"), one.is("share"):
			f.writes = append(f.writes, "FOR "+strings.ToUpper(one.text))
		case one.is("key") && two.is("share"):
			f.writes = append(f.writes, "FOR KEY SHARE")
		case one.is("no") && two.is("key"):
			f.writes = append(f.writes, "FOR NO KEY UPDATE")
		}
	case "do":
		if one.is("nothing") {
			f.doNothing++
		}
	}
}

// writingFunction reports whether a standby refuses the built-in function, or
// the function changes what other sessions see.
func writingFunction(name string) bool {
	switch name {
	case "nextval", "setval", "pg_notify", "txid_current", "pg_current_xact_id":
		return true
	}
	return strings.HasPrefix(name, "pg_advisory_") || strings.HasPrefix(name, "pg_try_advisory_")
}

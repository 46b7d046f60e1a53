package main

import (
	"fmt"
	"slices"
	"strings"
)

// checkLost refuses a statement whose parameters or columns sqlc has lost. sqlc
// generates a method even for a statement that it does not analyse.
func checkLost(s *statement) []problem {
	if s.kind == "copyfrom" {
		return checkCopied(s)
	}
	var problems []problem
	lost, unknown := lostParameters(s)
	head := tokensOf(s.Text)[0].text
	if len(lost) > 0 {
		problems = append(problems, s.problemf("sqlc sends %s unchanged because it finds no parameters there: %s", strings.Join(lost, ", "), withoutParameters(head)))
	}
	if len(unknown) > 0 {
		problems = append(problems, s.problemf("the generated method has no argument for %s: %s", strings.Join(unknown, ", "), withoutParameters(head)))
	}
	if (s.kind == "one" || s.kind == "many") && len(s.Columns) == 0 {
		hint := withoutColumns[head]
		if hint == "" {
			hint = "write a SELECT that names its columns, or use :exec"
		}
		problems = append(problems, s.problemf("sqlc finds no columns in %s, so the method would return none: %s", article(head), hint))
	}
	return problems
}

// lostParameters returns the parameters that still have the spelling of the query file
// in the text, and the numbers of those for which the method has no argument.
func lostParameters(s *statement) (lost, unknown []string) {
	tokens := locate(s.Text)
	known := map[string]bool{}
	for _, p := range s.Params {
		known[fmt.Sprintf("$%d", p.Number)] = true
	}
	for i, t := range tokens {
		next := func(n int) located {
			if i+n < len(tokens) {
				return tokens[i+n]
			}
			return located{token: token{kind: symbol}}
		}
		switch {
		case t.kind == literal && placeholder.MatchString(t.text) && !known[t.text]:
			unknown = append(unknown, t.text)
		case t.is("sqlc") && next(1).is(".") && next(2).kind == word && next(3).is("("):
			lost = append(lost, s.Text[t.start:next(2).end])
		case t.is("@") && next(1).kind == word && next(1).start == t.end && !operator(s.Text[:t.start]):
			lost = append(lost, s.Text[t.start:next(1).end])
		}
	}
	slices.Sort(lost)
	slices.Sort(unknown)
	return slices.Compact(lost), slices.Compact(unknown)
}

// operator reports whether before ends with an operator character, so that the next
// character continues an operator such as <@.
func operator(before string) bool {
	return before != "" && strings.ContainsAny(before[len(before)-1:], "+-*/<>=~!@#%^&|`?")
}

func withoutParameters(head string) string {
	if head == "merge" {
		return "MERGE can have none: write INSERT … ON CONFLICT, or an UPDATE and an INSERT in one WITH"
	}
	return "give it to the statement as a column, such as FROM (SELECT @v::text AS v) AS given"
}

// withoutColumns tells what to write instead of a statement without columns, by its
// first word.
var withoutColumns = map[string]string{
	"show":    "write SELECT current_setting('name')::text",
	"values":  "write SELECT 1 AS id, 'a' AS name UNION ALL SELECT …",
	"explain": "use @plan to hold a query to its plan, or psql to see it",
	"call":    "write a function and SELECT from it, or use :exec",
	"fetch":   "use @stream on a :many",
	"merge":   "write INSERT … ON CONFLICT … RETURNING, or an UPDATE and an INSERT in one WITH",
	"select":  "sqlc does not know the columns of VALUES: name each with its type in place of *, such as v.id::bigint AS id",
	"with":    "sqlc does not know the columns of VALUES: name each with its type in place of *, such as v.id::bigint AS id",
}

// article returns the first word of a statement with its article.
func article(head string) string {
	if strings.ContainsAny(head[:1], "aeiou") {
		return "an " + strings.ToUpper(head)
	}
	return "a " + strings.ToUpper(head)
}

// checkCopied checks the parameters of a :copyfrom against the columns of its INSERT.
// sqlc copies one column per parameter, and a single parameter into the column with the
// parameter's name.
func checkCopied(s *statement) []problem {
	p := parser{tokensOf(s.Text)}
	in, err := p.insert()
	switch {
	case err != nil:
		return []problem{s.problemf("this :copyfrom %v", err)}
	case len(in.columns) != len(s.Params):
		return []problem{s.problemf(":copyfrom of %d columns with %d parameters: sqlc omits columns: use one parameter for each column, each of them once", len(in.columns), len(s.Params))}
	case len(s.Params) == 1 && s.Params[0].Column.Name != in.columns[0]:
		return []problem{s.problemf("sqlc would copy into the column %s, which is the name of the parameter: write @%s", s.Params[0].name(), in.columns[0])}
	}
	return nil
}

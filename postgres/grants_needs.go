package postgres

import (
	"regexp"
	"slices"
	"strings"
)

// needs are the tables, sequences and functions in a statement's text, and the privileges that
// it needs on them. EXPLAIN finds whether a privilege on a table is missing, and the text only
// shows what to grant. If a word is mistaken for a table, that matters only if a grant is
// missing and a table has that name. Names are as written, quoted identifiers with their
// quotes.
type needs struct {
	tables    map[string][]string // by privilege
	inserts   map[string][]string // the columns of an INSERT or COPY
	sequences map[string][]string // of nextval and similar functions, by privilege
	serials   [][2]string         // the arguments of pg_get_serial_sequence, with sequences["pg_get_serial_sequence"]
	functions []string
}

// tokenPattern matches one token of a statement. The first group is an unquoted word.
var tokenPattern = regexp.MustCompile(`--[^\n]*|(?s:/\*.*?\*/)|"(?:[^"]|"")+"|([A-Za-z_\x80-\xff][\w$\x80-\xff]*)|'(?:[^']|'')*'|\S`)

// tokensOf returns the tokens of a statement without its comments. Unquoted words are in
// lower case.
func tokensOf(sql string) (list []string) {
	for _, m := range tokenPattern.FindAllStringSubmatch(sql, -1) {
		switch {
		case strings.HasPrefix(m[0], "--") || strings.HasPrefix(m[0], "/*"):
		case m[1] != "":
			list = append(list, strings.ToLower(m[0]))
		default:
			list = append(list, m[0])
		}
	}
	return list
}

var identifier = regexp.MustCompile(`^("|[a-z_\x80-\xff])`)

// nameAt returns the name at index i, including its schema, and the index after it. The
// name is empty if there is none.
func nameAt(list []string, i int) (name string, next int) {
	for i < len(list) && identifier.MatchString(list[i]) {
		name += list[i]
		if i++; i >= len(list) || list[i] != "." {
			break
		}
		name += "."
		i++
	}
	return name, i
}

// sequencePrivileges are the privileges that functions on sequences need (PostgreSQL
// manual, 9.17). A column GENERATED AS IDENTITY needs none.
var sequencePrivileges = map[string]string{"nextval": "USAGE", "currval": "USAGE", "setval": "UPDATE"}

// needsOf returns the needs of a statement of the registry.
func needsOf(sql string) *needs {
	n := &needs{tables: map[string][]string{}, inserts: map[string][]string{}, sequences: map[string][]string{}}
	// Padded at both ends, so that each token has neighbours.
	list := append(append([]string{""}, tokensOf(sql)...), "", "")
	target := "" // of the INSERT or MERGE
	var with []string
	for i := 1; i < len(list)-2; i++ {
		word, previous, start := list[i], list[i-1], i+1
		if list[start] == "only" || list[start] == "table" {
			start++
		}
		name, next := nameAt(list, start)
		switch {
		case word == "as" && (list[i+1] == "(" || list[i+1] == "materialized" || list[i+1] == "not"):
			with = append(with, nameBefore(list, i))
		case list[i+1] == "(" && identifier.MatchString(word):
			n.call(list, i)
		case (word == "update" || word == "share") && (previous == "for" || previous == "key"):
			for table := range n.tables {
				n.add(table, "UPDATE")
			}
		case word == "conflict" || word == "returning":
			n.add(target, "SELECT")
		case word == "update" && (previous == "do" || list[i+1] == "set"):
			n.add(target, "SELECT", "UPDATE")
		case word == "delete" && previous == "then":
			n.add(target, "SELECT", "DELETE")
		case word == "into" || word == "copy":
			target = name
			n.add(name, "INSERT")
			n.inserts[name] = columnsAt(list, next)
		case word == "update":
			n.add(name, "SELECT", "UPDATE")
		case word == "from" && previous == "delete":
			n.add(name, "SELECT", "DELETE")
		case slices.Contains([]string{"from", "join", "using", "table", ","}, word) && list[next] != "(":
			n.add(name, "SELECT")
		}
	}
	for _, name := range with {
		delete(n.tables, name)
	}
	return n
}

// nameBefore returns the name of the WITH query whose AS is at i. It may have a column
// list.
func nameBefore(list []string, i int) string {
	if i--; list[i] == ")" {
		for i > 1 && list[i] != "(" {
			i--
		}
		i--
	}
	return list[max(i, 0)]
}

func (n *needs) add(table string, privileges ...string) {
	if table != "" {
		n.tables[table] = union(n.tables[table], privileges)
	}
}

// call adds the function whose name is at index i, and the sequence that its arguments name.
func (n *needs) call(list []string, i int) {
	n.functions = union(n.functions, []string{list[i]})
	privilege := sequencePrivileges[list[i]]
	if privilege == "" {
		return
	}
	argument := list[i+2]
	if argument == "pg_get_serial_sequence" && len(list) > i+6 && list[i+3] == "(" && list[i+5] == "," {
		of := [2]string{textOf(list[i+4]), textOf(list[i+6])}
		if !slices.Contains(n.serials, of) {
			n.serials = append(n.serials, of)
		}
	} else {
		argument = textOf(argument)
	}
	if argument != "" {
		n.sequences[argument] = union(n.sequences[argument], []string{privilege})
	}
}

// textOf returns the value of a string literal, or an empty string for any other token.
func textOf(literal string) string {
	if !strings.HasPrefix(literal, "'") {
		return ""
	}
	return strings.ReplaceAll(literal[1:len(literal)-1], "''", "'")
}

// columnsAt returns the column list in parentheses at i, or none.
func columnsAt(list []string, i int) (columns []string) {
	// INSERT INTO t AS alias (…)
	if list[i] == "as" {
		i += 2
	}
	if i >= len(list) || list[i] != "(" {
		return nil
	}
	for i++; i < len(list) && list[i] != ")"; i++ {
		if list[i] != "," {
			columns = append(columns, list[i])
		}
	}
	return columns
}

// union appends those elements of more that list does not have.
func union(list, more []string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// nameParts returns schema and name as the catalog has them. The schema is empty if the
// name has none.
func nameParts(name string) (schema, relation string) {
	list := tokensOf(name)
	for i, part := range list {
		if strings.HasPrefix(part, `"`) {
			list[i] = strings.ReplaceAll(part[1:len(part)-1], `""`, `"`)
		}
	}
	switch len(list) {
	case 1:
		return "", list[0]
	case 3:
		return list[0], list[2]
	}
	return "", ""
}

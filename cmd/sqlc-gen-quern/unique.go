package main

import (
	"regexp"
	"slices"
	"strings"
)

// schemaKeys are the unique keys of the tables, as far as the schema files of sqlc.yaml declare
// them. sqlc does not send them. They are used to choose the key and the lock of a derived
// UPDATE or DELETE, and pgtest.CheckStatements compares both with the server. A table is
// missing if it is declared by other means than a list of columns.
type schemaKeys map[string][]uniqueKey

type uniqueKey struct {
	name    string
	columns []string // empty for an expression
}

// downSection begins the part of a migration that sqlc ignores: of goose, sql-migrate, dbmate
// and tern.
var downSection = regexp.MustCompile(`(?im)^(-- *\+goose +down|-- *\+migrate +down|-- *migrate:down|---- create above / drop below ----)`)

// readKeys reads the unique keys in the schema files.
func readKeys(files []sqlFile) schemaKeys {
	keys := schemaKeys{}
	for _, f := range files {
		text := f.text
		if at := downSection.FindStringIndex(text); at != nil {
			text = text[:at[0]]
		}
		tokens := slices.DeleteFunc(lex(text), func(t token) bool { return t.kind == comment })
		for len(tokens) > 0 {
			end := slices.IndexFunc(tokens, func(t token) bool { return t.is(";") })
			if end < 0 {
				end = len(tokens)
			}
			keys.read(&parser{tokens[:end]})
			tokens = tokens[min(end+1, len(tokens)):]
		}
	}
	return keys
}

// read reads one statement.
func (k schemaKeys) read(p *parser) {
	switch {
	case p.take("create", "table"), p.take("create", "unlogged", "table"):
		p.take("if", "not", "exists")
		k.readTable(tableName(p), p)
	case p.take("drop", "table"):
		p.take("if", "exists")
		delete(k, tableName(p))
	case p.take("alter", "table"):
		p.take("if", "exists")
		p.take("only")
		k.readChanges(tableName(p), p.tokens)
	case p.take("create", "unique", "index"):
		p.take("concurrently")
		p.take("if", "not", "exists")
		index := p.name()
		p.take("on")
		p.take("only")
		table := tableName(p)
		p.skipTo("(")
		columns, ok := p.group()
		if partial := slices.ContainsFunc(p.tokens, func(t token) bool { return t.is("where") }); ok && !partial {
			k.add(table, uniqueKey{index, columnNames(columns)})
		}
	case p.take("drop", "index"):
		p.take("concurrently")
		p.take("if", "exists")
		index := p.name()
		for table := range k {
			k.drop(table, index)
		}
	}
}

func (k schemaKeys) add(table string, key uniqueKey) {
	if all, known := k[table]; known {
		k[table] = append(all, key)
	}
}

func (k schemaKeys) drop(table, name string) {
	if all, known := k[table]; known {
		k[table] = slices.DeleteFunc(all, func(key uniqueKey) bool { return key.name == name })
	}
}

// readTable reads the columns and constraints of CREATE TABLE.
func (k schemaKeys) readTable(name string, p *parser) {
	list, ok := p.group()
	parts := split(list)
	if !ok || slices.ContainsFunc(parts, func(part []token) bool { return part[0].is("like") }) {
		return
	}
	k[name] = []uniqueKey{}
	for _, part := range parts {
		k.readPart(name, part)
	}
}

// readChanges reads the actions of ALTER TABLE.
func (k schemaKeys) readChanges(table string, tokens []token) {
	for _, action := range split(tokens) {
		p := parser{action}
		switch {
		case p.take("rename"):
			table = k.rename(table, &p)
		case p.take("inherit"):
			delete(k, table)
		case p.take("drop", "constraint"):
			p.take("if", "exists")
			k.drop(table, p.name())
		case p.take("add", "column"), p.take("add"):
			p.take("if", "not", "exists")
			k.readPart(table, p.tokens)
		}
	}
}

// rename reads RENAME after that word. It returns the table's name afterwards.
func (k schemaKeys) rename(table string, p *parser) string {
	constraint := p.take("constraint")
	p.take("column")
	old := ""
	if !p.at(0).is("to") {
		old = p.name()
	}
	p.take("to")
	name := p.name()
	all, known := k[table]
	if old == "" && known {
		delete(k, table)
		if schema, _, qualified := strings.Cut(table, "."); qualified {
			name = schema + "." + name
		}
		k[name] = all
		return name
	}
	for i := range all {
		if constraint && all[i].name == old {
			all[i].name = name
		}
		for j, column := range all[i].columns {
			if !constraint && column == old {
				all[i].columns[j] = name
			}
		}
	}
	return table
}

// readPart reads the declaration of a column or constraint. Constraints without a name have the
// name that PostgreSQL gives them.
func (k schemaKeys) readPart(table string, part []token) {
	for i, t := range part {
		primary := t.is("primary") && i+1 < len(part) && part[i+1].is("key")
		if !primary && !t.is("unique") || depth(part[:i]) > 0 {
			continue
		}
		p := parser{part[i+1:]}
		p.take("key")
		p.take("nulls", "not", "distinct")
		columns := []string{part[0].text}
		if list, ok := p.group(); ok {
			columns = columnNames(list)
		} else if p.at(0).is("using") {
			return // UNIQUE USING INDEX: the index has been read
		}
		base := table[strings.LastIndex(table, ".")+1:]
		name := base + "_" + strings.Join(columns, "_") + "_key"
		if primary {
			name = base + "_pkey"
		}
		if i >= 2 && part[i-2].is("constraint") {
			name = part[i-1].text
		}
		k.add(table, uniqueKey{name, columns})
	}
}

// tableName reads a table's name, without the default schema.
func tableName(p *parser) string { return strings.TrimPrefix(p.name(), "public.") }

// columnNames returns the columns of a key, or none if one is an expression.
func columnNames(list []token) (names []string) {
	for _, c := range split(list) {
		if c[0].is("(") || len(c) > 1 && c[1].is("(") {
			return nil
		}
		names = append(names, c[0].text)
	}
	return names
}

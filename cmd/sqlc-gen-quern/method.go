package main

import (
	"fmt"
	gotoken "go/token"
	"path"
	"slices"
	"strings"
)

// method describes the method that sqlc generates for a query.
type method struct {
	constant string // with the text; empty for a :copyfrom
	args     []field
	sent     []string // the arguments as expressions, for $1, $2, …

	params       []field // the fields of the parameter struct, if there is one
	row          goType  // type of a row; empty without rows
	bare         string  // the variable for a row that is not a struct
	rowFields    []field // the fields of the row struct
	rowDeclared  bool    // the row struct belongs to this query only
	paramsStruct string
}

// methodOf derives the method that sqlc generates for a query.
func (r *request) methodOf(s *statement) method {
	m := method{constant: r.constant(s)}
	if s.kind == "copyfrom" {
		m.constant = ""
	}
	r.methodParams(s, &m)
	if s.kind == "one" || s.kind == "many" {
		r.methodRow(s, &m)
	}
	return m
}

func (r *request) methodParams(s *statement, m *method) {
	n, limit := len(s.Params), r.golang.paramLimit
	if n == 1 && limit != 0 {
		name := escape(r.paramName(s.Params[0]))
		m.args = []field{{name, r.goType(s.Params[0].Column)}}
		m.sent = []string{name}
		return
	}
	if n == 0 {
		return
	}
	columns := make([]column, n)
	for i, p := range s.Params {
		columns[i] = p.Column
	}
	fields := r.fields(columns)
	if n <= limit && s.kind != "copyfrom" {
		for _, f := range fields {
			name := escape(strings.ToLower(f.name[:min(1, len(f.name))]) + f.name[min(1, len(f.name)):])
			m.args = append(m.args, field{name, f.goType})
			m.sent = append(m.sent, name)
		}
		return
	}
	m.params, m.paramsStruct = fields, s.Name+"Params"
	name := m.paramsStruct
	if r.golang.paramPointers {
		name = "*" + name
	}
	m.args = []field{{"arg", goType{name: name}}}
	for _, f := range fields {
		m.sent = append(m.sent, "arg."+f.name)
	}
}

// paramName returns the name that sqlc gives to a parameter that is not in a struct.
func (r *request) paramName(p parameter) string {
	if p.Column.Name == "" {
		return fmt.Sprintf("dollar_%d", p.Number)
	}
	parts := strings.Split(p.Column.Name, "_")
	name := strings.ToLower(parts[0])
	for _, part := range parts[1:] {
		if part == "id" {
			part = "ID"
		}
		name += upperFirst(part)
	}
	return name
}

// methodRow follows sqlc. One column is a plain value, the columns of a table are its
// model, and anything else is a struct that belongs to the query.
func (r *request) methodRow(s *statement, m *method) {
	if len(s.Columns) == 1 && s.Columns[0].EmbedTable == nil {
		m.row = r.goType(s.Columns[0])
		m.bare = escape(strings.ReplaceAll(columnName(s.Columns[0], 0), "$", "_"))
		for s.kind == "one" && slices.ContainsFunc(m.args, func(a field) bool { return a.name == m.bare }) {
			m.bare += "_2"
		}
		return
	}
	columns := slices.Clone(s.Columns)
	for i, c := range columns {
		if c.EmbedTable != nil {
			columns[i].Name = r.embedded(*c.EmbedTable)
		}
	}
	m.rowFields = r.fields(columns)
	for i, c := range columns {
		if c.EmbedTable != nil {
			m.rowFields[i].goType = goType{name: c.Name}
		}
	}
	if name := r.modelOf(s.Columns); name != "" {
		m.row = goType{name: name}
		return
	}
	m.row, m.rowDeclared = goType{name: s.Name + "Row"}, true
}

// embedded returns the struct of an embedded table.
func (r *request) embedded(of identifier) string {
	for _, model := range r.models() {
		if of.Name == model.table.Rel.Name && r.schemaOf(of) == model.schema {
			return model.goName
		}
	}
	return ""
}

// types returns the Go types in the code of the query.
func (m method) types() (all []goType) {
	for _, f := range slices.Concat(m.args, m.params, m.rowFields) {
		all = append(all, f.goType)
	}
	if m.row.name != "" {
		all = append(all, m.row)
	}
	return all
}

// escape returns a name as sqlc writes it, with an underscore if it is a keyword or
// the receiver's name.
func escape(name string) string {
	if gotoken.IsKeyword(name) || name == "q" {
		return name + "_"
	}
	return name
}

// avoidImports renames a parameter that has the name of a package imported by the
// file.
func avoidImports(m *method, imports map[string]bool) {
	if len(m.args) != 1 || m.paramsStruct == "" && len(m.sent) != 1 {
		return
	}
	for imported := range imports {
		if name := m.args[0].name; path.Base(imported) == name {
			m.args[0].name = "arg" + upperFirst(name)
			if m.paramsStruct == "" {
				m.sent[0] = m.args[0].name
			}
		}
	}
}

// identifiers returns the identifiers in a Go type that are resolved in the file.
func (t goType) identifiers() []string {
	words := strings.FieldsFunc(t.name, func(c rune) bool { return strings.ContainsRune("[]*{}", c) })
	for i, w := range words {
		words[i], _, _ = strings.Cut(w, ".")
	}
	return words
}

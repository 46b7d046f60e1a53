package main

import (
	"slices"
	"strings"
)

// otherArrays are the types, in addition to nativeArrays, whose arrays pgx can
// encode without querying the server for their OIDs.
var otherArrays = []string{
	"aclitem", "bit", "box", "char", "cid", "circle", "jsonpath", "line", "lseg", "path", "point", "polygon", "record",
	"tid", "tsvector", "varbit", "varchar", "xid", "xid8", "xml",
}

// ownTypes returns the types of a statement's parameters and columns whose arrays
// pgx can neither encode nor scan until it has queried the server for their OIDs.
// They are the elements' types, as written in SQL.
func (s *statement) ownTypes() []string {
	var own []string
	add := func(c column) {
		element := c.element()
		if c.dims() > 0 && !slices.Contains(nativeArrays, element) && !slices.Contains(otherArrays, element) && !strings.HasPrefix(element, "any") {
			own = append(own, quotedType(c))
		}
	}
	for _, p := range s.Params {
		add(p.Column)
	}
	for _, c := range s.columns {
		add(c)
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// resultColumns returns the columns that the server returns for a query. A
// sqlc.embed is replaced by the columns of its table.
func (r *request) resultColumns(q query) (columns []column) {
	if q.Cmd != ":one" && q.Cmd != ":many" {
		return nil
	}
	for _, c := range q.Columns {
		if c.EmbedTable == nil {
			columns = append(columns, c)
			continue
		}
		columns = append(columns, r.columnsOf(*c.EmbedTable)...)
	}
	return columns
}

// columnsOf returns the columns of a table, or none if sqlc does not know it.
func (r *request) columnsOf(table identifier) []column {
	for _, s := range r.Catalog.Schemas {
		for _, t := range s.Tables {
			if t.Rel.Name == table.Name && (s.Name == table.Schema || table.Schema == "" && s.Name == r.Catalog.DefaultSchema) {
				return t.Columns
			}
		}
	}
	return nil
}

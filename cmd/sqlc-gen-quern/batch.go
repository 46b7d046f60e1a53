package main

import (
	"slices"
	"strings"
)

// checkBatch checks that @batch fits its statement. A read, an update and a delete must have
// it without a name, an insert with the name of a :many.
func checkBatch(s *statement, byName map[string]*statement) []problem {
	b := s.policy.batch
	one := func(format string, args ...any) []problem { return []problem{s.problemf(format, args...)} }
	switch {
	case b == (batch{}):
		return nil
	case s.changes() && s.kind == "exec":
		return one("@batch on a :exec: only calls of a :one or :execrows can be coalesced: make it an :execrows")
	case s.kind != "one" && !(s.kind == "execrows" && s.changes()):
		return one("@batch on a :%s: only calls of a :one can be coalesced: remove it", s.kind)
	case len(s.inserts) > 0 && b.derived:
		return one("@batch without a name is for reads, but this is an INSERT: write @batch NAME, where NAME is the :many that inserts the rows of several calls")
	case len(s.writes) > 0 && len(s.inserts) == 0 && !s.changes():
		return one("@batch on a statement with %s: only reads, inserts, and an UPDATE or DELETE of one row can be coalesced: remove it", strings.Join(s.writes, ", "))
	case s.changes() && b.name != "":
		return one("@batch %s on %s: write @batch without a name, because the statement for several calls is derived from this one", b.name, s.writes[0])
	case len(s.inserts) == 0 && b.name != "":
		return one("@batch %s on a statement that only reads: write @batch without a name, because the statement for several calls is derived from this one", b.name)
	case b.derived && s.policy.plan == "":
		return one("@batch without @plan: without an index, a coalesced statement scans the whole table once per call: add @plan indexed or @plan uses NAME")
	case b.derived:
		return nil
	}
	many := byName[b.name]
	if many == nil {
		return one("@batch %s: no query has this name%s: name the :many that inserts the rows of several calls", b.name, didYouMean(b.name, names(byName)))
	}
	if many.kind != "many" {
		return one("@batch %s, which is a :%s: name a :many", many.Name, many.kind)
	}
	var problems []problem
	if class, other := s.class(), many.class(); class != other {
		problems = one("@batch %s, whose class is %s, but the class of this query is %s: give both the same @class", many.Name, other, class)
	}
	return append(problems, checkPartner(s, many)...)
}

// checkPartner checks that the :many of an insert returns the rows of the :one,
// because at run time they replace each other.
func checkPartner(s, many *statement) []problem {
	var problems []problem
	wrong := func(format string, args ...any) {
		problems = append(problems, s.problemf("@batch "+many.Name+format, args...))
	}
	switch {
	case len(many.inserts) == 0:
		wrong(", which inserts nothing: name the :many that inserts the rows of several calls")
	case !slices.Equal(s.inserts, many.inserts):
		wrong(", which inserts into %v, but this query inserts into %v: insert into the same tables", many.inserts, s.inserts)
	case many.doNothing != len(many.inserts):
		// Without ON CONFLICT, one taken username would make the rows of all other callers
		// fail.
		wrong(", where a conflict fails every row: write ON CONFLICT DO NOTHING")
	}
	for _, p := range s.Params {
		if p.Column.IsArray {
			wrong(": the parameter %s is an array (%s), and unnest flattens an array of arrays: remove @batch", p.name(), p.Column.sqlType())
		}
	}
	if !arraysOf(many.Params, s.Params) {
		wrong(", which takes %s, but this query takes %s: use one array for each parameter, in the same order", listParams(many.Params), listParams(s.Params))
	}
	if len(many.Columns) == 0 || !isOrdinal(many.Columns[0]) || !sameColumns(many.Columns[1:], s.Columns) {
		wrong(", whose columns %s are not an integer ord followed by %s: return the ordinal first and then the same columns", list(many.Columns), list(s.Columns))
	}
	if len(problems) > 0 {
		return problems
	}
	if err := samePartner(s, many); err != nil {
		wrong(": %v", err)
	}
	return problems
}

// class returns the class of a statement, which is "default" without a directive.
func (s *statement) class() string {
	if s.policy.class == "" {
		return "default"
	}
	return s.policy.class
}

func sameColumns(a, b []column) bool {
	return slices.EqualFunc(a, b, func(x, y column) bool { return x.describe() == y.describe() })
}

// isOrdinal reports whether the column shows to which call a row belongs.
func isOrdinal(c column) bool {
	return c.Name == "ord" && (c.sqlType() == "integer" || c.sqlType() == "bigint")
}

func arrayOf(array, of column) bool {
	return array.IsArray && array.sqlType() == of.sqlType()+"[]"
}

func arraysOf(arrays, of []parameter) bool {
	return slices.EqualFunc(arrays, of, func(a, o parameter) bool { return arrayOf(a.Column, o.Column) })
}

func listParams(params []parameter) string {
	columns := make([]column, len(params))
	for i, p := range params {
		columns[i] = p.Column
		columns[i].Name = "@" + p.name()
		columns[i].NotNull = false // only a parameter's type matters
	}
	return list(columns)
}

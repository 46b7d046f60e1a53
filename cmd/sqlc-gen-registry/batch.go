package main

import "slices"

// checkBatch holds @batch to both of its statements: at run time the rows of
// the :many stand for the rows of the :one, so they must be the same rows.
func checkBatch(s *statement, byName map[string]*statement) []problem {
	b := s.policy.batch
	if b.name == "" {
		return nil
	}
	if s.kind != "one" {
		return []problem{s.problemf("@batch on a :%s: only a :one can leave with others; remove it", s.kind)}
	}
	many := byName[b.name]
	if many == nil {
		return []problem{s.problemf("@batch %s: there is no query of this name%s: name the :many that answers several calls at once",
			b.name, didYouMean(b.name, names(byName)))}
	}
	if many.kind != "many" {
		return []problem{s.problemf("@batch %s, which is a :%s: name a :many", many.Name, many.kind)}
	}
	var problems []problem
	if one, other := s.class(), many.class(); one != other {
		problems = append(problems, s.problemf("@batch %s, whose class is %s and this one's %s: give both the same @class", many.Name, other, one))
	}
	if b.by == "" {
		return append(problems, checkInsertBatch(s, many)...)
	}
	return append(problems, checkReadBatch(s, many)...)
}

// checkReadBatch checks @batch NAME by COLUMN.
func checkReadBatch(s, many *statement) []problem {
	var problems []problem
	wrong := func(format string, args ...any) {
		problems = append(problems, s.problemf(format, args...))
	}
	by := s.policy.batch.by
	for _, side := range []*statement{s, many} {
		if len(side.writes) > 0 {
			wrong("@batch %s by %s is for reads, and %s has %s: remove it, or, on an insert, write @batch NAME", many.Name, by, side.Name, side.writes[0])
			return problems
		}
	}
	if one, other := s.route(), many.route(); one != other {
		wrong("@batch %s, which is routed to the %s and this to the %s: give both the same @route", many.Name, other, one)
	}
	if !sameColumns(s.Columns, many.Columns) {
		wrong("@batch %s, whose columns %s are not %s: select the same columns in the same order", many.Name, list(many.Columns), list(s.Columns))
	}
	if len(s.Params) != 1 {
		wrong("@batch by on a query with %d parameters: only a query with exactly one can be told apart by a column; remove it", len(s.Params))
		return problems
	}
	key := s.Params[0].Column
	if len(many.Params) != 1 || !arrayOf(many.Params[0].Column, key) {
		wrong("@batch %s, which does not take one array of %s: give it the one parameter %s[]", many.Name, key.sqlType(), key.sqlType())
	}
	i := slices.IndexFunc(s.Columns, func(c column) bool { return c.Name == by })
	switch {
	case i < 0:
		wrong("@batch %s by %s, which is not among the columns %s: name the column that %s is compared with", many.Name, by, list(s.Columns), s.Params[0].name())
	case s.Columns[i].sqlType() != key.sqlType():
		wrong("@batch %s by %s, which is %s and the parameter %s is %s: name the column it is compared with, or cast", many.Name, by,
			s.Columns[i].sqlType(), s.Params[0].name(), key.sqlType())
	}
	return problems
}

// checkInsertBatch checks @batch NAME.
func checkInsertBatch(s, many *statement) []problem {
	if len(s.inserts) == 0 {
		return []problem{s.problemf("@batch %s on a statement that inserts nothing: on a read, write @batch %s by COLUMN", many.Name, many.Name)}
	}
	var problems []problem
	wrong := func(format string, args ...any) {
		problems = append(problems, s.problemf(format, args...))
	}
	switch {
	case len(many.inserts) == 0:
		wrong("@batch %s, which inserts nothing: name the :many that inserts the rows of several calls", many.Name)
	case !slices.Equal(s.inserts, many.inserts):
		wrong("@batch %s, which inserts into %v and this into %v: insert into the same tables", many.Name, many.inserts, s.inserts)
	case many.doNothing != len(many.inserts):
		// One taken username would else fail the rows of every other caller.
		wrong("@batch %s, where a conflict fails every row: write ON CONFLICT DO NOTHING", many.Name)
	}
	if !arraysOf(many.Params, s.Params) {
		wrong("@batch %s, which takes %s and this %s: take one array for each parameter, in the same order", many.Name, listParams(many.Params), listParams(s.Params))
	}
	if len(many.Columns) == 0 || !isOrdinal(many.Columns[0]) || !sameColumns(many.Columns[1:], s.Columns) {
		wrong("@batch %s, whose columns %s are not an integer ord and then %s: return the ordinal first and then the same columns", many.Name, list(many.Columns), list(s.Columns))
	}
	return problems
}

func (s *statement) route() string {
	if s.policy.route == "" {
		return "primary"
	}
	return s.policy.route
}

// class is the class of a statement, with or without a directive.
func (s *statement) class() string {
	if s.policy.class == "" {
		return "default"
	}
	return s.policy.class
}

func sameColumns(a, b []column) bool {
	return slices.EqualFunc(a, b, func(x, y column) bool { return x.describe() == y.describe() })
}

// isOrdinal holds for the column that says which call a row belongs to.
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
		columns[i].NotNull = false // a parameter's type is all that matters
	}
	return list(columns)
}

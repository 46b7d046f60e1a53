package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// overBudget returns ErrQueryBudget if the Stats of the context reject the statement.
func (r *Router) overBudget(ctx context.Context, s *statement) error {
	stats, ok := ctx.Value(statsKey{}).(*Stats)
	if !ok {
		return nil
	}
	budget := stats.refuses(s.Name)
	if budget == 0 {
		return nil
	}
	return &Error{Kind: ErrQueryBudget, Statement: s.Name, Err: fmt.Errorf("it ran %d times in one request: %s", budget, Instead(r.cfg.Statements, s.Name))}
}

// Instead returns a hint for a statement that is executed once for each row of a list. It
// names the statements of the registry that do the same for many keys, if there are any.
func Instead(statements []Statement, name string) string {
	i := slices.IndexFunc(statements, func(s Statement) bool { return s.Name == name })
	if i < 0 {
		return "read or write all rows with one statement"
	}
	one := statements[i]
	var many []string
	for _, s := range statements {
		shared := slices.ContainsFunc(statements, func(o Statement) bool { return o.Batch == s.Name })
		if !shared && s.Name != name && forMany(one, s) {
			many = append(many, s.Name)
		}
	}
	switch {
	case len(many) > 0:
		return "call " + strings.Join(many, " or ") + " once"
	case one.Batch != "":
		return "make the calls at the same time, because @batch coalesces them, or write a statement that takes an array"
	}
	return "write a statement that takes an array, such as WHERE key = ANY(@keys)"
}

// forMany reports whether many does the same as one, for many keys. Both must name the same
// table first, with the same verb, and many must take an array in place of a parameter, or
// of every parameter in an INSERT. A read must return all columns of the other and lock
// nothing. A COPY can replace an INSERT.
func forMany(one, many Statement) bool {
	table, verb := firstTable(one.SQL)
	of, does := firstTable(many.SQL)
	switch {
	case table == "" || of != table:
		return false
	case many.Kind == CopyFrom:
		return verb == "insert into" && one.Kind == One
	case does != verb:
		return false
	case verb == "from" && (many.Kind != Many || !many.Reads || !returnsAll(one, many)):
		return false
	}
	arrays := 0
	for _, o := range one.Params {
		if strings.HasSuffix(o.Type, "[]") && verb != "update" {
			return false // one already takes many keys
		}
		if slices.ContainsFunc(many.Params, func(m Param) bool {
			return m.Type == o.Type+"[]" && (m.Name == o.Name || m.Name == o.Name+"s" || m.Name == o.Name+"es")
		}) {
			arrays++
		}
	}
	if verb == "insert into" {
		return arrays == len(one.Params)
	}
	return arrays > 0
}

// returnsAll reports whether many returns every column that one returns.
func returnsAll(one, many Statement) bool {
	return !slices.ContainsFunc(one.Columns, func(c Column) bool {
		return !slices.ContainsFunc(many.Columns, func(m Column) bool { return m.Name == c.Name })
	})
}

var firstTablePattern = regexp.MustCompile(`(?im)^[^-\n]*?\b(insert into|update|delete from|from|copy)\s+((?:\w+\.|"[^"]+"\.)?(?:\w+|"[^"]+"))`)

// firstTable returns the table that a statement names first, without quotes, and the verb
// before it.
func firstTable(sql string) (table, verb string) {
	m := firstTablePattern.FindStringSubmatch(sql)
	if m == nil {
		return "", ""
	}
	return strings.ReplaceAll(m[2], `"`, ""), strings.ToLower(m[1])
}

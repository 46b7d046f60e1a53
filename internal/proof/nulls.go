package proof

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quern/postgres"
)

// checkNulls compares the nullability of the columns. The server reports whether a
// table's column is NOT NULL, but not the effect of joins, aggregates and
// subqueries. That is derived from the query tree.
//
// Only for a few functions is it known whether they return NULL for arguments that
// are not NULL, so some nullable columns are not found.
func (c *checker) checkNulls(ctx context.Context, s postgres.Statement, tree *node) (problems []string, err error) {
	n := &nulls{checker: c, ctx: ctx}
	for i, column := range s.Columns {
		if !column.NotNull || takesNull(column.Type) {
			continue
		}
		why := n.target(&scope{query: tree}, i+1)
		if n.err != nil {
			return nil, n.err
		}
		if why != "" {
			problems = append(problems, fmt.Sprintf("the column %s can be NULL, but the generated code treats it as NOT NULL: %s: write coalesce(…)",
				columnName(column, i), why))
		}
	}
	return problems, nil
}

// takesNull reports whether the Go type of a column represents NULL as nil even if
// the column is NOT NULL. Slices and any do.
func takesNull(typ string) bool {
	return strings.HasSuffix(typ, "[]") || unknownType(typ) || slices.Contains([]string{"json", "jsonb", "bytea"}, typ)
}

// nulls finds out which expressions can be NULL, and why.
type nulls struct {
	*checker
	ctx   context.Context
	err   error
	depth int
}

// scope is a query inside others.
type scope struct {
	query *node
	outer *scope
}

func (s *scope) up(levels string) *scope {
	n, _ := strconv.Atoi(levels)
	for ; n > 0 && s != nil; n-- {
		s = s.outer
	}
	return s
}

// deepest bounds the nesting of queries that is followed, because a recursive query
// refers to itself.
const deepest = 50

// target returns why the nth column of a query can be NULL, or "".
func (n *nulls) target(s *scope, column int) string {
	if n.depth++; n.depth > deepest {
		n.depth--
		return ""
	}
	defer func() { n.depth-- }()
	if set := s.query.child("setOperations"); set != nil {
		return n.setTarget(s, set, column)
	}
	list := s.query.list("targetList")
	if s.query.word("commandType") != "1" {
		list = s.query.list("returningList")
	}
	for _, t := range list {
		if t.word("resno") == strconv.Itoa(column) && t.word("resjunk") == "false" {
			return n.expr(s, t.child("expr"))
		}
	}
	return ""
}

// setTarget is like target, but for UNION (1), INTERSECT (2) and EXCEPT (3).
func (n *nulls) setTarget(s *scope, set *node, column int) string {
	if set.is("RANGETBLREF") {
		rte := s.entry(set.word("rtindex"))
		return n.target(&scope{rte.child("subquery"), s}, column)
	}
	left := n.setTarget(s, set.child("larg"), column)
	switch set.word("op") {
	case "3":
		return left
	case "2":
		if left == "" {
			return ""
		}
	default:
		if left != "" {
			return left
		}
	}
	return n.setTarget(s, set.child("rarg"), column)
}

// entry returns the nth entry that a query reads from.
func (s *scope) entry(number string) *node {
	i, _ := strconv.Atoi(number)
	entries := s.query.list("rtable")
	if i < 1 || i > len(entries) {
		return &node{}
	}
	return entries[i-1]
}

// anyOf returns "" if none of the nodes can be NULL, and otherwise why one of them can.
func (n *nulls) anyOf(s *scope, nodes []*node) string {
	for _, e := range nodes {
		if why := n.expr(s, e); why != "" {
			return why
		}
	}
	return ""
}

// allOf returns "" if at least one of the nodes cannot be NULL, and otherwise why all of them
// can.
func (n *nulls) allOf(s *scope, nodes []*node) (why string) {
	for _, e := range nodes {
		if why = n.expr(s, e); why == "" {
			return ""
		}
	}
	return why
}

// expr returns why an expression can be NULL, or "".
func (n *nulls) expr(s *scope, e *node) string {
	if e == nil || s == nil {
		return ""
	}
	switch e.name {
	case "VAR":
		return n.variable(s.up(e.word("varlevelsup")), e)
	case "CONST":
		if e.word("constisnull") == "true" {
			return "NULL is one of its values"
		}
	case "RELABELTYPE", "COERCEVIAIO", "ARRAYCOERCEEXPR", "COLLATEEXPR", "COERCETODOMAIN", "CONVERTROWTYPEEXPR", "NAMEDARGEXPR":
		return n.expr(s, e.child("arg"))
	case "FUNCEXPR":
		return n.call(s, e.word("funcid"), e.list("args"))
	case "OPEXPR", "SCALARARRAYOPEXPR":
		return n.operator(s, e)
	case "NULLIFEXPR":
		return "NULLIF returns NULL"
	case "BOOLEXPR":
		return n.anyOf(s, e.list("args"))
	case "CASEEXPR", "CASE":
		for _, w := range e.list("args") {
			if why := n.expr(s, w.child("result")); why != "" {
				return why
			}
		}
		if e.child("defresult").is("CONST") && e.child("defresult").word("constisnull") == "true" {
			return "CASE without ELSE returns NULL"
		}
		return n.expr(s, e.child("defresult"))
	case "COALESCE", "COALESCEEXPR", "MINMAX", "MINMAXEXPR":
		return n.allOf(s, e.list("args"))
	case "SUBLINK":
		return n.sublink(s, e)
	case "SUBSCRIPTINGREF":
		return "an array or JSON value may not have that element"
	case "AGGREF":
		return n.aggregate(s, e)
	case "WINDOWFUNC":
		return n.window(s, e)
	}
	return ""
}

// nullOperators are the functions behind operators that return NULL if a value does not have
// the requested element.
var nullOperators = []string{
	"json_object_field", "json_object_field_text", "json_array_element", "json_array_element_text", "json_extract_path", "json_extract_path_text",
	"jsonb_object_field", "jsonb_object_field_text", "jsonb_array_element", "jsonb_array_element_text", "jsonb_extract_path", "jsonb_extract_path_text",
	"array_length", "array_upper", "array_lower", "array_position", "hstore_fetchval",
}

func (n *nulls) operator(s *scope, e *node) string {
	var function string
	const of = "SELECT oprcode::oid::text FROM pg_operator WHERE oid = $1::text::oid"
	if n.err = n.conn.QueryRow(n.ctx, of, e.word("opno")).Scan(&function); n.err != nil {
		return ""
	}
	return n.call(s, function, e.list("args"))
}

func (n *nulls) call(s *scope, function string, args []*node) string {
	var name string
	var strict bool
	const of = "SELECT proname::text, proisstrict FROM pg_proc WHERE oid = $1::text::oid"
	if n.err = n.conn.QueryRow(n.ctx, of, function).Scan(&name, &strict); n.err != nil {
		return ""
	}
	if slices.Contains(nullOperators, name) {
		return name + "() returns NULL if there is no such element"
	}
	if !strict {
		return ""
	}
	return n.anyOf(s, args)
}

// sublink is like expr, but for a subquery in an expression. Only EXPR_SUBLINK (4, primnodes.h)
// is a value that may be missing.
func (n *nulls) sublink(s *scope, e *node) string {
	if e.word("subLinkType") != "4" {
		return ""
	}
	query := e.child("subselect")
	if !oneRow(query) {
		return "the subquery may return no row"
	}
	return n.target(&scope{query, s}, 1)
}

// oneRow reports whether a query always returns a row.
func oneRow(query *node) bool {
	return query.word("hasAggs") == "true" && len(query.list("groupClause")) == 0 && query.fields["havingQual"] == null &&
		query.fields["groupingSets"] == null && query.fields["limitCount"] == null && query.fields["limitOffset"] == null
}

// ofOneRow are the aggregates that return NULL for a single row.
var ofOneRow = []string{"stddev", "stddev_samp", "variance", "var_samp", "covar_samp", "corr", "regr_slope", "regr_intercept", "regr_r2"}

func (n *nulls) aggregate(s *scope, e *node) string {
	var name string
	const of = "SELECT proname::text FROM pg_proc WHERE oid = $1::text::oid"
	if n.err = n.conn.QueryRow(n.ctx, of, e.word("aggfnoid")).Scan(&name); n.err != nil {
		return ""
	}
	query := s.up(e.word("agglevelsup")).query
	switch {
	case name == "count", name == "regr_count":
		return ""
	case len(query.list("groupClause")) == 0:
		return name + "() of no rows is NULL"
	case e.fields["aggfilter"] != null:
		return name + "() of no rows is NULL, and FILTER may leave none"
	case slices.Contains(ofOneRow, name):
		return name + "() of one row is NULL"
	case name == "array_agg", name == "json_agg", name == "jsonb_agg", name == "json_object_agg", name == "jsonb_object_agg":
		return ""
	}
	for _, arg := range e.list("args") {
		if why := n.expr(s, arg.child("expr")); why != "" {
			return why
		}
	}
	return ""
}

func (n *nulls) window(s *scope, e *node) string {
	var name string
	const of = "SELECT proname::text FROM pg_proc WHERE oid = $1::text::oid"
	if n.err = n.conn.QueryRow(n.ctx, of, e.word("winfnoid")).Scan(&name); n.err != nil {
		return ""
	}
	switch args := e.list("args"); {
	case name == "count":
		return ""
	case (name == "lag" || name == "lead") && len(args) < 3, name == "nth_value":
		return name + "() returns NULL if there is no such row"
	case slices.Contains(ofOneRow, name):
		return name + "() of one row is NULL"
	default:
		return n.anyOf(s, args)
	}
}

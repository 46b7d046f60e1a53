package proof

import (
	"context"
	"strconv"
)

// The kinds of entries that a query reads from (RTEKind in parsenodes.h).
const (
	fromTable    = "0"
	fromSubquery = "1"
	fromJoin     = "2"
	fromValues   = "5"
	fromCTE      = "6"
	fromGroup    = "9" // PostgreSQL 18: the columns of GROUP BY
)

// variable returns why a column of an entry that a query reads from can be NULL, or
// "".
func (n *nulls) variable(s *scope, e *node) string {
	if s == nil {
		return ""
	}
	number := e.word("varno")
	rte := s.entry(number)
	column, _ := strconv.Atoi(e.word("varattno"))
	if column <= 0 {
		return ""
	}
	if s.query.fields["groupingSets"] != null && rte.word("rtekind") != fromJoin {
		return "grouping sets leave it out of some rows"
	}
	if why := outerJoined(s.query)[number]; why != "" && !s.excludesNull(number, "") {
		return why
	}
	if s.excludesNull(number, e.word("varattno")) {
		return ""
	}
	if n.depth++; n.depth > deepest {
		n.depth--
		return ""
	}
	defer func() { n.depth-- }()
	switch rte.word("rtekind") {
	case fromTable:
		return n.tableColumn(rte, column)
	case fromSubquery:
		return n.target(&scope{rte.child("subquery"), s}, column)
	case fromJoin:
		return n.nth(s, rte.list("joinaliasvars"), column)
	case fromGroup:
		return n.nth(s, rte.list("groupexprs"), column)
	case fromValues:
		rows, _ := rte.fields["values_lists"].([]any)
		for _, row := range rows {
			if why := n.nth(s, (&node{fields: map[string]any{"row": row}}).list("row"), column); why != "" {
				return why
			}
		}
	case fromCTE:
		with := s.up(rte.word("ctelevelsup"))
		if with == nil || rte.word("self_reference") == "true" {
			return ""
		}
		for _, cte := range with.query.list("cteList") {
			if cte.word("ctename") == rte.word("ctename") {
				return n.target(&scope{cte.child("ctequery"), with}, column)
			}
		}
	}
	return ""
}

func (n *nulls) nth(s *scope, list []*node, column int) string {
	if column > len(list) {
		return ""
	}
	return n.expr(s, list[column-1])
}

// tableColumn queries the catalog. For a view, which has no NOT NULL, it examines
// the view's query.
func (n *nulls) tableColumn(rte *node, column int) string {
	if kind := rte.word("relkind"); kind == "v" || kind == "m" {
		view, err := n.view(n.ctx, rte.word("relid"))
		if err != nil {
			n.err = err
			return ""
		}
		return n.target(&scope{query: view}, column)
	}
	var name string
	var notNull bool
	// With a constraint that is NOT VALID, which PostgreSQL 18 has, older rows may have NULLs.
	const of = `SELECT a.attrelid::regclass || '.' || a.attname, t.typnotnull OR a.attnotnull AND NOT EXISTS (
			SELECT FROM pg_constraint AS k
			WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated)
		FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid WHERE a.attrelid = $1::text::oid AND a.attnum = $2`
	if n.err = n.conn.QueryRow(n.ctx, of, rte.word("relid"), column).Scan(&name, &notNull); n.err != nil || notNull {
		return ""
	}
	return name + " allows NULL"
}

// view returns the query of a view.
func (c *checker) view(ctx context.Context, oid string) (*node, error) {
	if v := c.views[oid]; v != nil {
		return v, nil
	}
	var text string
	const of = "SELECT ev_action::text FROM pg_rewrite WHERE ev_class = $1::text::oid AND rulename = '_RETURN'"
	if err := c.conn.QueryRow(ctx, of, oid).Scan(&text); err != nil {
		return nil, err
	}
	parsed, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	if c.views == nil {
		c.views = map[string]*node{}
	}
	c.views[oid] = firstQuery(parsed)
	return c.views[oid], nil
}

// outerJoined returns the numbers of the entries that an outer join may fill with NULLs, with
// the reason.
func outerJoined(query *node) map[string]string {
	found := map[string]string{}
	var visit func(n *node, why string)
	visit = func(n *node, why string) {
		switch {
		case n.is("RANGETBLREF"):
			if why != "" {
				found[n.word("rtindex")] = why
			}
		case n.is("FROMEXPR"):
			for _, item := range n.list("fromlist") {
				visit(item, why)
			}
		case n.is("JOINEXPR"):
			left, right := why, why
			switch n.word("jointype") { // JoinType in nodes.h
			case "1":
				right = "the LEFT JOIN may find no row of it"
				if alwaysJoins(query, n) {
					right = why
				}
			case "2":
				left, right = "the FULL JOIN may find no row of it", "the FULL JOIN may find no row of it"
			case "3":
				left = "the RIGHT JOIN may find no row of it"
			}
			if why != "" && n.word("rtindex") != "0" {
				found[n.word("rtindex")] = why
			}
			visit(n.child("larg"), left)
			visit(n.child("rarg"), right)
		}
	}
	visit(query.child("jointree"), "")
	return found
}

// alwaysJoins reports whether a LEFT JOIN always finds a row, because it joins an
// aggregate ON true.
func alwaysJoins(query, join *node) bool {
	rte := (&scope{query: query}).entry(join.child("rarg").word("rtindex"))
	sub := rte.child("subquery")
	return sub != nil && oneRow(sub) && (join.fields["quals"] == null || join.child("quals").is("CONST"))
}

// excludesNull reports whether WHERE keeps only rows in which the column is not
// NULL. If column is empty, any column of the entry will do.
func (s *scope) excludesNull(number, column string) bool {
	from := s.query.child("jointree")
	if from == nil {
		return false
	}
	var and func(e *node) bool
	names := func(e *node) bool {
		for e.is("RELABELTYPE") {
			e = e.child("arg")
		}
		return e.is("VAR") && e.word("varno") == number && e.word("varlevelsup") == "0" && (column == "" || e.word("varattno") == column)
	}
	and = func(e *node) bool {
		switch {
		case e.is("BOOLEXPR") && e.word("boolop") == "and":
			for _, arg := range e.list("args") {
				if and(arg) {
					return true
				}
			}
		case e.is("NULLTEST"):
			return e.word("nulltesttype") == "1" && names(e.child("arg"))
		case e.is("OPEXPR"), e.is("SCALARARRAYOPEXPR"):
			// PostgreSQL's built-in comparisons are strict.
			for _, arg := range e.list("args") {
				if names(arg) {
					return true
				}
			}
		}
		return false
	}
	return and(from.child("quals"))
}

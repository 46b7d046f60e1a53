package proof

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// The rules of Vet. A line in a query's doc comment exempts it from a rule. The line
// must give a reason:
//
//	-- quern:allow no-limit: there is one row per country
const (
	RuleNoLimit         = "no-limit"          // a list without LIMIT, whose length grows with the table
	RuleNoWhere         = "no-where"          // an UPDATE or DELETE without a condition
	RuleFunctionOnIndex = "function-on-index" // a function of an indexed column in a comparison
	RuleSelectStar      = "select-star"       // columns named by *
	RuleNeverRun        = "never-run"         // a statement that no test runs
	RuleNeverNull       = "never-null"        // a nullable column in which no test reads NULL
	RuleAllShards       = "all-shards"        // a statement that a sharded database sends to every shard
	RuleShardJoin       = "shard-join"        // a join of rows of different shards
	RuleShardKey        = "shard-key"         // a unique or foreign key without the distribution column
)

// Finding is a statement that breaks a rule.
type Finding struct {
	Statement postgres.Statement // without a name if the finding is about the schema
	Rule      string
	Text      string // the problem and the hint
}

func (f Finding) String() string {
	if f.Statement.Name == "" {
		return fmt.Sprintf("%s (%s)", f.Text, f.Rule)
	}
	return fmt.Sprintf("%s: %s: %s (%s)", f.Statement.File, f.Statement.Name, f.Text, f.Rule)
}

var allowed = regexp.MustCompile(`(?m)^\s*quern:allow ([a-z-]+): *\S`)

// Allowed reports whether the doc comment of a statement exempts it from a rule.
func Allowed(s postgres.Statement, rule string) bool {
	for _, m := range allowed.FindAllStringSubmatch(s.Doc, -1) {
		if m[1] == rule {
			return true
		}
	}
	return false
}

// Vet returns the statements that are a risk on the schema of the database: lists
// whose length grows with the table, writes to all rows, and comparisons of a
// function of an indexed column. Nothing is executed. The role must be allowed to
// create temporary functions.
//
// A list is bounded by LIMIT, by an aggregate without GROUP BY, or if the caller
// gives values for all columns of a unique index. A statement with @stream is not a
// list, because it is read row by row.
func Vet(ctx context.Context, url string, statements []postgres.Statement) ([]Finding, error) {
	return vet(ctx, url, statements, func(v *vetter, s postgres.Statement, tree *node) {
		if s.Kind == postgres.Many && !s.Stream && !v.bounded(&scope{query: tree}) {
			v.find(s, RuleNoLimit, "its result grows with the table: add LIMIT, or mark it @stream and read it row by row")
		}
		walk(tree, func(q *node) {
			if q.is("QUERY") {
				v.checkWhere(s, q)
				v.checkFunctions(s, q)
			}
		})
	})
}

// vet calls check with the query tree of each statement of a file.
func vet(ctx context.Context, url string, statements []postgres.Statement, check func(*vetter, postgres.Statement, *node)) ([]Finding, error) {
	c, err := newChecker(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close(ctx)
	v := &vetter{ctx: ctx, checker: c}
	if err := v.loadTables(); err != nil {
		return nil, err
	}
	for _, s := range statements {
		if s.DerivedFrom != "" || s.Kind == postgres.CopyFrom {
			continue
		}
		tree, err := v.tree(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		if tree != nil {
			check(v, s, tree)
		}
	}
	return v.findings, nil
}

// vetter looks for risks in query trees.
type vetter struct {
	*checker
	ctx      context.Context
	equal    map[string]bool      // the OIDs of the operators =
	tables   map[string]*vetTable // by OID
	findings []Finding
}

// vetTable is a table with its indexes.
type vetTable struct {
	name    string
	columns map[string]int // by name
	indexes []vetIndex
}

type vetIndex struct {
	name        string
	unique      bool  // covers all rows, because it has no predicate
	columns     []int // 0 is an expression
	expressions *string
}

func (v *vetter) find(s postgres.Statement, rule, format string, args ...any) {
	f := Finding{s, rule, fmt.Sprintf(format, args...)}
	if Allowed(s, rule) || slices.ContainsFunc(v.findings, func(o Finding) bool { return o.String() == f.String() }) {
		return
	}
	v.findings = append(v.findings, f)
}

func (v *vetter) loadTables() error {
	v.equal, v.tables = map[string]bool{}, map[string]*vetTable{}
	rows, err := v.conn.Query(v.ctx, "SELECT oid::text FROM pg_operator WHERE oprname = '='")
	if err != nil {
		return err
	}
	operators, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, oid := range operators {
		v.equal[oid] = true
	}
	const columns = `
		SELECT c.oid::text, c.oid::regclass::text, array_agg(a.attname::text), array_agg(a.attnum::int)
		FROM pg_class AS c
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p') AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
		GROUP BY c.oid`
	if rows, err = v.conn.Query(v.ctx, columns); err != nil {
		return err
	}
	var oid, name string
	var names []string
	var numbers []int
	_, err = pgx.ForEachRow(rows, []any{&oid, &name, &names, &numbers}, func() error {
		t := &vetTable{name: name, columns: map[string]int{}}
		for i, n := range names {
			t.columns[n] = numbers[i]
		}
		v.tables[oid] = t
		return nil
	})
	if err != nil {
		return err
	}
	const indexes = `
		SELECT indrelid::text, indexrelid::regclass::text, indisunique AND indpred IS NULL, (indkey::int2[])[0:indnkeyatts - 1]::int[], indexprs::text
		FROM pg_index
		WHERE indisvalid`
	if rows, err = v.conn.Query(v.ctx, indexes); err != nil {
		return err
	}
	var i vetIndex
	_, err = pgx.ForEachRow(rows, []any{&oid, &i.name, &i.unique, &i.columns, &i.expressions}, func() error {
		if t := v.tables[oid]; t != nil {
			t.indexes = append(t.indexes, i)
		}
		return nil
	})
	return err
}

// tree returns the query tree of a statement, or nil if the server creates none for
// it.
func (v *vetter) tree(s postgres.Statement) (*node, error) {
	tx, err := v.conn.Begin(v.ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(v.ctx)
	prepared, err := tx.Prepare(v.ctx, "vet", s.SQL)
	if err != nil {
		return nil, fmt.Errorf("the server cannot prepare the statement: %s", serverText(err))
	}
	defer v.conn.Deallocate(v.ctx, "vet")
	return v.treeOf(v.ctx, tx, s.SQL, prepared.ParamOIDs)
}

// bounded reports whether the number of a query's rows does not grow with a table.
func (v *vetter) bounded(s *scope) bool {
	q := s.query
	switch {
	case q.fields["limitCount"] != null, q.word("commandType") != "1", oneRow(q):
		return true
	}
	entries := from(q)
	known := map[string]bool{} // entries with a bounded number of rows
	for more := true; more; {
		more = false
		for _, number := range entries {
			if !known[number] && v.boundedEntry(s, number, known) {
				known[number], more = true, true
			}
		}
	}
	return len(known) == len(entries)
}

// from returns the numbers of the entries that a query reads from, without the
// entries of joins. The branches of a UNION count as entries.
func from(q *node) []string {
	seen := map[string]bool{}
	var numbers []string
	add := func(n *node) {
		if number := n.word("rtindex"); n.is("RANGETBLREF") && !seen[number] {
			seen[number] = true
			numbers = append(numbers, number)
		}
	}
	var visit func(n *node)
	visit = func(n *node) {
		add(n)
		for _, item := range n.list("fromlist") {
			visit(item)
		}
		for _, side := range []string{"larg", "rarg"} {
			if c := n.child(side); c != nil {
				visit(c)
			}
		}
	}
	if set := q.child("setOperations"); set != nil {
		visit(set)
	} else if tree := q.child("jointree"); tree != nil {
		visit(tree)
	}
	return numbers
}

func (v *vetter) boundedEntry(s *scope, number string, known map[string]bool) bool {
	rte := s.entry(number)
	switch rte.word("rtekind") {
	case fromSubquery:
		return v.bounded(&scope{rte.child("subquery"), s}) || v.grouped(s.query, number, rte.child("subquery"), known)
	case fromCTE:
		with := s.up(rte.word("ctelevelsup"))
		if with == nil || rte.word("self_reference") == "true" {
			return true // the recursion is bounded if its other branch is, which is checked too
		}
		for _, cte := range with.query.list("cteList") {
			if cte.word("ctename") == rte.word("ctename") {
				return v.bounded(&scope{cte.child("ctequery"), with}) || v.grouped(s.query, number, cte.child("ctequery"), known)
			}
		}
		return false
	case fromTable:
		t := v.tables[rte.word("relid")]
		if t == nil {
			return false
		}
		given := v.given(s, number, known)
		return slices.ContainsFunc(t.indexes, func(i vetIndex) bool {
			return i.unique && !slices.ContainsFunc(i.columns, func(c int) bool { return !given[c] })
		})
	default: // functions and VALUES, whose rows come from the caller
		return true
	}
}

// grouped reports whether a subquery has values for all columns of its GROUP BY, so
// that it has one row for each combination.
func (v *vetter) grouped(q *node, number string, sub *node, known map[string]bool) bool {
	groups := sub.list("groupClause")
	given := v.given(&scope{query: q}, number, known)
	for _, g := range groups {
		of := func(t *node) bool { return t.word("ressortgroupref") == g.word("tleSortGroupRef") }
		i := slices.IndexFunc(sub.list("targetList"), of)
		if i < 0 || !given[i+1] {
			return false
		}
	}
	return len(groups) > 0
}

// given returns the columns of an entry that must be equal to a value of the caller,
// or to a column of a known entry.
func (v *vetter) given(s *scope, number string, known map[string]bool) map[int]bool {
	columns := map[int]bool{}
	give := func(side, other *node) {
		c := column(side)
		if c.word("varno") == number && c.word("varlevelsup") == "0" && v.fixed(s, other, known) {
			n, _ := strconv.Atoi(c.word("varattno"))
			columns[n] = true
		}
	}
	for _, e := range conditions(s.query) {
		test := e
		if e.is("SUBLINK") && e.word("subLinkType") == anySublink && v.bounded(&scope{e.child("subselect"), s}) {
			test = e.child("testexpr") // column IN (SELECT …)
		}
		if !test.is("OPEXPR") && !test.is("SCALARARRAYOPEXPR") || !v.equal[test.word("opno")] {
			continue
		}
		if sides := test.list("args"); len(sides) == 2 {
			give(sides[0], sides[1])
			give(sides[1], sides[0])
		}
	}
	return columns
}

// Kinds of subqueries in expressions (SubLinkType in primnodes.h).
const (
	anySublink   = "2"
	arraySublink = "6"
)

// fixed reports whether an expression has a bounded number of values, because it
// consists of values of the caller, columns of known entries and bounded subqueries.
func (v *vetter) fixed(s *scope, e any, known map[string]bool) bool {
	switch e := e.(type) {
	case *node:
		switch {
		case e.is("VAR"):
			return e.word("varlevelsup") != "0" || known[e.word("varno")]
		case e.is("SUBLINK"):
			return e.word("subLinkType") != arraySublink || v.bounded(&scope{e.child("subselect"), s})
		}
		for _, field := range e.fields {
			if !v.fixed(s, field, known) {
				return false
			}
		}
	case []any:
		for _, item := range e {
			if !v.fixed(s, item, known) {
				return false
			}
		}
	}
	return true
}

// column returns the column that an expression consists of, ignoring casts that keep
// its value, or an empty node.
func column(e *node) *node {
	for e.is("RELABELTYPE") {
		e = e.child("arg")
	}
	if e.is("VAR") {
		return e
	}
	return &node{}
}

// conditions returns the expressions that must all be true for a query's rows. It includes the
// conditions of an outer join, because they bound the rows that the join adds.
func conditions(q *node) []*node {
	var all []*node
	var and func(e *node)
	and = func(e *node) {
		if e.is("BOOLEXPR") && e.word("boolop") == "and" {
			for _, arg := range e.list("args") {
				and(arg)
			}
		} else if e != nil {
			all = append(all, e)
		}
	}
	var visit func(n *node)
	visit = func(n *node) {
		and(n.child("quals"))
		for _, item := range n.list("fromlist") {
			visit(item)
		}
		for _, side := range []string{"larg", "rarg"} {
			if c := n.child(side); c.is("JOINEXPR") {
				visit(c)
			}
		}
	}
	if tree := q.child("jointree"); tree != nil {
		visit(tree)
	}
	return all
}

// checkWhere finds writes that no condition on a column restricts.
func (v *vetter) checkWhere(s postgres.Statement, q *node) {
	verb := map[string]string{"2": "updates", "4": "deletes"}[q.word("commandType")]
	if verb == "" {
		return
	}
	restricted := false
	for _, e := range conditions(q) {
		walk(e, func(n *node) { restricted = restricted || n.is("VAR") || n.is("SUBLINK") })
	}
	if !restricted {
		table := (&scope{query: q}).entry(q.word("resultRelation")).word("relid")
		v.find(s, RuleNoWhere, "it %s every row of %s: add WHERE", verb, v.tableName(table))
	}
}

func (v *vetter) tableName(oid string) string {
	if t := v.tables[oid]; t != nil {
		return t.name
	}
	return "a view"
}

// checkFunctions finds comparisons of a function of an indexed column, which an index
// on the column cannot serve.
func (v *vetter) checkFunctions(s postgres.Statement, q *node) {
	for _, e := range conditions(q) {
		if !e.is("OPEXPR") && !e.is("SCALARARRAYOPEXPR") {
			continue
		}
		for _, side := range e.list("args") {
			// 0 is an explicit call and 1 an explicit cast (CoercionForm in primnodes.h).
			if !side.is("FUNCEXPR") || side.word("funcformat") > "1" {
				continue
			}
			walk(side, func(n *node) {
				if n.is("VAR") && n.word("varlevelsup") == "0" {
					v.checkFunction(s, q, side, n)
				}
			})
		}
	}
}

func (v *vetter) checkFunction(s postgres.Statement, q, call, of *node) {
	t := v.tables[(&scope{query: q}).entry(of.word("varno")).word("relid")]
	if t == nil {
		return
	}
	number, _ := strconv.Atoi(of.word("varattno"))
	indexed := ""
	for _, i := range t.indexes {
		if len(i.columns) > 0 && i.columns[0] == number && indexed == "" {
			indexed = i.name
		}
		// An index on an expression with this function serves it.
		if i.expressions != nil && strings.Contains(*i.expressions, ":funcid "+call.word("funcid")+" ") {
			return
		}
	}
	if indexed == "" {
		return
	}
	name := ""
	for n, attribute := range t.columns {
		if attribute == number {
			name = n
		}
	}
	v.find(s, RuleFunctionOnIndex, "it compares a function of %s.%s, which the index %s cannot serve: "+
		"compare the column itself, or create an index on the expression", t.name, name, indexed)
}

package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// Advice is an index that would let a statement find its rows without reading all of a
// table or rows that it does not return.
type Advice struct {
	Statement postgres.Statement
	Problem   string // of its current generic plan
	Index     string // CREATE INDEX …; empty if no suitable index was found
}

// Advise returns the statements whose generic plan reads rows that do not meet their
// conditions, each with an index that changes that. Each index is created, tried and
// rolled back, so use a scratch database with the project's schema.
//
// The columns of an index are those that the statement compares by =, then one that it
// compares with another operator, then those that it sorts by.
func Advise(ctx context.Context, url string, statements []postgres.Statement) ([]Advice, error) {
	var advice []Advice
	var failed error
	_, err := vet(ctx, url, statements, func(v *vetter, s postgres.Statement, tree *node) {
		described, err := v.conn.Prepare(ctx, "advise", s.SQL)
		if err == nil {
			err = v.conn.Deallocate(ctx, "advise")
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", s.Name, err)
			return
		}
		params := len(described.ParamOIDs)
		problem := v.served(ctx, s, params, "", v.wasted)
		if problem == nil {
			return
		}
		summary, _, _ := strings.Cut(problem.Error(), ": add an index")
		found := Advice{Statement: s, Problem: summary}
		for _, index := range v.candidates(tree) {
			if v.served(ctx, s, params, index, v.wasted) == nil {
				found.Index = index
				break
			}
		}
		advice = append(advice, found)
	})
	return advice, errors.Join(failed, err)
}

// wasted returns an error if a plan reads rows that do not meet a condition on a parameter. It
// accepts a condition on all columns of a unique key, because such rows are few. It also
// accepts a condition with OR, such as an optional filter, because no index serves it for every
// argument.
func (v *vetter) wasted(p Plan) error {
	for i, n := range p.Nodes {
		index, cond := n.Index, n.Cond
		if n.Type == "Bitmap Heap Scan" && i+1 < len(p.Nodes) {
			index, cond = p.Nodes[i+1].Index, p.Nodes[i+1].Cond
		}
		if n.Relation == "" || v.oneKey(index, cond) {
			continue
		}
		for part := range strings.SplitSeq(n.Filter, " AND ") {
			if parameter.MatchString(part) && !strings.Contains(n.Filter, " OR ") {
				return fmt.Errorf("no index covers %s on %s, so it reads rows that do not match", unshifted(strings.Trim(part, "()")), n.Relation)
			}
		}
	}
	return nil
}

// oneKey reports whether the condition of an index has a value for each column of a
// unique key.
func (v *vetter) oneKey(index, cond string) bool {
	for _, t := range v.tables {
		for _, i := range t.indexes {
			if !i.unique || !strings.HasSuffix("."+i.name, "."+index) || index == "" {
				continue
			}
			for name, number := range t.columns {
				if slices.Contains(i.columns, number) && !strings.Contains(cond, "."+name+" = ") && !strings.Contains(cond, "("+name+" = ") {
					return false
				}
			}
			return true
		}
	}
	return false
}

// candidates returns statements that create indexes that may serve a query of a tree.
// For each table, the index with the most columns comes first, because it serves the
// order, too.
func (v *vetter) candidates(tree *node) []string {
	var indexes []string
	walk(tree, func(q *node) {
		if !q.is("QUERY") {
			return
		}
		numbers := from(q)
		if target := q.word("resultRelation"); target != "0" && !slices.Contains(numbers, target) {
			numbers = append(numbers, target)
		}
		for _, number := range numbers {
			t := v.tables[(&scope{query: q}).entry(number).word("relid")]
			if t == nil {
				continue
			}
			equal, ranges, sorted := v.columnsOf(q, number)
			for _, columns := range [][]int{join(equal, ranges, sorted), join(equal, sorted), join(equal, ranges), equal} {
				if index := t.create("", columns); index != "" && !slices.Contains(indexes, index) {
					indexes = append(indexes, index)
				}
			}
			// Operators of arrays, ranges and documents need an index of another kind.
			for _, n := range ranges {
				indexes = append(indexes, t.create("USING gin ", []int{n}), t.create("USING gist ", []int{n}))
			}
		}
	})
	return indexes
}

// columnsOf returns the columns of an entry in three lists: those that a query compares by =,
// those that it compares with another operator, and those that it sorts by.
func (v *vetter) columnsOf(q *node, number string) (equal, ranges, sorted []int) {
	of := func(e *node) int {
		if c := column(e); c.word("varno") == number && c.word("varlevelsup") == "0" {
			n, _ := strconv.Atoi(c.word("varattno"))
			return n
		}
		return 0
	}
	for _, e := range conditions(q) {
		if e.is("SUBLINK") {
			e = e.child("testexpr")
		}
		if !e.is("OPEXPR") && !e.is("SCALARARRAYOPEXPR") {
			continue
		}
		for _, side := range e.list("args") {
			switch n := of(side); {
			case n == 0:
			case v.equal[e.word("opno")]:
				equal = append(equal, n)
			default:
				ranges = append(ranges, n)
			}
		}
	}
	for _, clause := range q.list("sortClause") {
		for _, t := range q.list("targetList") {
			if t.word("ressortgroupref") == clause.word("tleSortGroupRef") {
				if n := of(t.child("expr")); n > 0 {
					sorted = append(sorted, n)
				}
			}
		}
	}
	return equal, ranges, sorted
}

// join concatenates lists of columns without duplicates.
func join(lists ...[]int) (all []int) {
	for _, n := range slices.Concat(lists...) {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// create returns the statement that creates an index of columns, or "".
func (t *vetTable) create(method string, columns []int) string {
	var names []string
	for _, number := range columns {
		for name, n := range t.columns {
			if n == number {
				names = append(names, pgx.Identifier{name}.Sanitize())
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	for i, name := range names {
		if plain := strings.Trim(name, `"`); plainName.MatchString(plain) {
			names[i] = plain
		}
	}
	return fmt.Sprintf("CREATE INDEX ON %s %s(%s)", t.name, method, strings.Join(names, ", "))
}

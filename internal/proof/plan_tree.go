package proof

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// PlanTree returns the generic plan of a statement as a tree of lines with the names
// of the parameters. It changes nothing, because it plans in a read-only transaction.
func PlanTree(ctx context.Context, url string, s postgres.Statement) (string, error) {
	c, err := newChecker(ctx, url)
	if err != nil {
		return "", err
	}
	defer c.conn.Close(ctx)
	root, err := c.planOf(ctx, s)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	writeTree(&b, root, "", "")
	return b.String(), nil
}

// LivePlan returns the root of the generic plan that PlanTree writes. Each of its steps ends
// after 2 s, so that a locked table does not keep the connection of config.
func LivePlan(ctx context.Context, config *pgx.ConnConfig, s postgres.Statement) (PlanNode, error) {
	c, err := newCheckerOf(ctx, config)
	if err != nil {
		return PlanNode{}, err
	}
	defer c.conn.Close(ctx)
	if err := c.limit(ctx); err != nil {
		return PlanNode{}, err
	}
	return c.planOf(ctx, s)
}

func (c *checker) planOf(ctx context.Context, s postgres.Statement) (root PlanNode, err error) {
	if s.Kind == postgres.CopyFrom {
		return root, fmt.Errorf("%s is a COPY, which has no plan", s.Name)
	}
	described, err := c.conn.Prepare(ctx, "proof", s.SQL)
	if err != nil {
		return root, fmt.Errorf("the server cannot prepare the statement: %s", serverText(err))
	}
	defer c.conn.Deallocate(ctx, "proof")
	err = c.planned(ctx, s, len(described.ParamOIDs), "SET LOCAL transaction_read_only = on", func(p Plan) error {
		root = p.Nodes[0]
		root.name(s.Params)
		return nil
	})
	return root, err
}

// name replaces the numbers of parameters by their names in the node and all below it.
func (n *PlanNode) name(params []postgres.Param) {
	for _, text := range []*string{&n.Cond, &n.Filter, &n.Join, &n.HashCond, &n.MergeCond} {
		*text = named(*text, params)
	}
	for i := range n.SortKey {
		n.SortKey[i] = named(n.SortKey[i], params)
	}
	for i := range n.Plans {
		n.Plans[i].name(params)
	}
}

func named(text string, params []postgres.Param) string {
	return numbered.ReplaceAllStringFunc(unshifted(text), func(m string) string {
		n, _ := strconv.Atoi(m[1:])
		if n < 1 || n > len(params) {
			return m
		}
		return "@" + params[n-1].Name
	})
}

var numbered = regexp.MustCompile(`\$\d+\b`)

// writeTree writes a node and the nodes that it reads from. first begins its line,
// and rest begins the lines below it.
func writeTree(b *strings.Builder, n PlanNode, first, rest string) {
	b.WriteString(first + n.title() + "\n")
	inner := rest
	if len(n.Plans) > 0 {
		inner += "│ "
	} else {
		inner += "  "
	}
	for _, condition := range n.Conditions() {
		b.WriteString(inner + "  " + condition.Name + ": " + condition.Text + "\n")
	}
	for i, child := range n.Plans {
		if i == len(n.Plans)-1 {
			writeTree(b, child, rest+"└─ ", rest+"   ")
		} else {
			writeTree(b, child, rest+"├─ ", rest+"│  ")
		}
	}
}

// Condition is a condition or a sort key of a node.
type Condition struct{ Name, Text string }

// Conditions returns the conditions of the node.
func (n PlanNode) Conditions() (list []Condition) {
	for _, c := range []Condition{
		{"index condition", n.Cond},
		{"filter", n.Filter},
		{"join filter", n.Join},
		{"hash condition", n.HashCond},
		{"merge condition", n.MergeCond},
		{"sort key", strings.Join(n.SortKey, ", ")},
	} {
		if c.Text != "" {
			list = append(list, c)
		}
	}
	return list
}

// title describes a node in one line.
func (n PlanNode) title() string {
	return fmt.Sprintf("%s  (cost %.0f, rows %.0f)", n.Title(), n.Cost, n.Rows)
}

// Title says what the node does, without its cost.
func (n PlanNode) Title() string {
	title := n.Type
	if n.Operation != "" {
		title = n.Operation + " (" + n.Type + ")"
	}
	if n.Index != "" {
		title += " using " + n.Index
	}
	if n.Relation != "" {
		title += " on " + n.Relation
	} else if n.Function != "" {
		title += " on " + n.Function
	} else if n.CTE != "" {
		title += " on " + n.CTE
	}
	return title
}

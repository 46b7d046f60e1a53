package proof

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

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
	if s.Kind == postgres.CopyFrom {
		return "", fmt.Errorf("%s is a COPY, which has no plan", s.Name)
	}
	described, err := c.conn.Prepare(ctx, "proof", s.SQL)
	if err != nil {
		return "", fmt.Errorf("the server cannot prepare the statement: %s", serverText(err))
	}
	defer c.conn.Deallocate(ctx, "proof")
	var b strings.Builder
	err = c.planned(ctx, s, len(described.ParamOIDs), "SET LOCAL transaction_read_only = on", func(p Plan) error {
		writeTree(&b, p.Nodes[0], "", "", func(text string) string {
			return numbered.ReplaceAllStringFunc(unshifted(text), func(m string) string {
				n, _ := strconv.Atoi(m[1:])
				if n < 1 || n > len(s.Params) {
					return m
				}
				return "@" + s.Params[n-1].Name
			})
		})
		return nil
	})
	return b.String(), err
}

var numbered = regexp.MustCompile(`\$\d+\b`)

// writeTree writes a node and the nodes that it reads from. first begins its line,
// and rest begins the lines below it.
func writeTree(b *strings.Builder, n PlanNode, first, rest string, named func(string) string) {
	b.WriteString(first + n.title() + "\n")
	inner := rest
	if len(n.Plans) > 0 {
		inner += "│ "
	} else {
		inner += "  "
	}
	for _, condition := range []struct{ name, text string }{
		{"index condition", n.Cond},
		{"filter", n.Filter},
		{"join filter", n.Join},
		{"hash condition", n.HashCond},
		{"merge condition", n.MergeCond},
		{"sort key", strings.Join(n.SortKey, ", ")},
	} {
		if condition.text != "" {
			b.WriteString(inner + "  " + condition.name + ": " + named(condition.text) + "\n")
		}
	}
	for i, child := range n.Plans {
		if i == len(n.Plans)-1 {
			writeTree(b, child, rest+"└─ ", rest+"   ", named)
		} else {
			writeTree(b, child, rest+"├─ ", rest+"│  ", named)
		}
	}
}

// title describes a node in one line.
func (n PlanNode) title() string {
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
	return fmt.Sprintf("%s  (cost %.0f, rows %.0f)", title, n.Cost, n.Rows)
}

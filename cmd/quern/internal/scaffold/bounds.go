package scaffold

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// bounds are the least and most value of an integer, or length of a text. Nil is unbounded.
type bounds struct{ least, most *int64 }

// narrow adds a bound. The stricter of two bounds applies.
func (b *bounds) narrow(operator string, n int64) {
	switch operator {
	case ">":
		operator, n = ">=", n+1
	case "<":
		operator, n = "<=", n-1
	}
	if operator != "<=" && (b.least == nil || n > *b.least) {
		b.least = &n
	}
	if operator != ">=" && (b.most == nil || n < *b.most) {
		b.most = &n
	}
}

// comparison matches a condition of a CHECK as PostgreSQL prints it, such as
// (char_length(body) <= 2000) or (stars >= 1). Its groups are the function, the column and the
// cast of the column, the operator, and the number, which PostgreSQL quotes if it is negative.
var comparison = regexp.MustCompile(`^(?:(char_length|character_length|length)\()?` +
	`\(?(\w+|"(?:[^"]|"")+")\)?(?:::text)?` +
	`\)? (>=|<=|>|<|=) '?(-?\d+)'?(?:::(?:smallint|integer|bigint))?$`)

// exact is the largest integer that a JSON schema has without rounding.
const exact = 1<<53 - 1

// readBounds reads the bounds of the columns from their types and the CHECKs. A condition that it
// cannot read sets none, so the database alone checks it.
func (t *table) readBounds(ctx context.Context, conn *pgx.Conn) error {
	checks, err := t.checks(ctx, conn)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(mapKeys(checks)) {
		text, ok := strings.CutPrefix(checks[name].text, "CHECK ")
		if !ok {
			continue
		}
		text = strings.TrimSuffix(strings.TrimSuffix(text, " NOT VALID"), " NO INHERIT")
		for _, condition := range conditions(text) {
			m := comparison.FindStringSubmatch(condition)
			if m == nil {
				continue
			}
			i := slices.IndexFunc(t.columns, func(c *column) bool { return m[2] == c.quoted || m[2] == c.name })
			n, err := strconv.ParseInt(m[4], 10, 64)
			if i < 0 || err != nil || n > exact || n < -exact || (m[1] != "") != t.columns[i].isText() {
				continue
			}
			t.columns[i].bounds.narrow(m[3], n)
		}
	}
	return nil
}

// isText reports whether a column has a text whose length is counted in characters.
func (c *column) isText() bool {
	return slices.Contains([]string{"text", "varchar", "bpchar", "citext"}, c.typ)
}

// conditions returns the conditions that must all hold for an expression to hold.
func conditions(text string) []string {
	for text != "" {
		parts := split(text)
		if len(parts) > 1 {
			var all []string
			for _, part := range parts {
				all = append(all, conditions(part)...)
			}
			return all
		}
		if !enclosed(text) {
			break
		}
		text = text[1 : len(text)-1]
	}
	return []string{text}
}

// split splits an expression at the ANDs that are outside of its parentheses and quotes.
func split(text string) (parts []string) {
	start := 0
	walk(text, func(i, depth int) {
		if depth == 0 && i >= start && strings.HasPrefix(text[i:], " AND ") {
			parts, start = append(parts, text[start:i]), i+len(" AND ")
		}
	})
	return append(parts, text[start:])
}

// enclosed reports whether the first parenthesis of an expression ends with its last one.
func enclosed(text string) bool {
	end := -1
	walk(text, func(i, depth int) {
		if depth == 0 && end < 0 && text[i] == ')' {
			end = i
		}
	})
	return text[0] == '(' && end == len(text)-1
}

// walk calls each with the characters outside of quotes, and the depth of parentheses after them.
func walk(text string, each func(i, depth int)) {
	depth, quoted := 0, byte(0)
	for i := range len(text) {
		switch c := text[i]; {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
			continue
		case c == '\'' || c == '"':
			quoted = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		}
		each(i, depth)
	}
}

// limits returns the struct tags of the member's bounds in a request.
func (w *wired) limits() string {
	least, most := w.bounds.least, w.bounds.most
	var names [2]string
	switch {
	case w.wire == "string" && w.isText():
		names = [2]string{"minLength", "maxLength"}
		if least != nil && *least <= 0 {
			least = nil
		}
		if most != nil && *most < 0 {
			most = nil
		}
	case slices.Contains([]string{"int16", "int32", "int64"}, w.wire):
		names = [2]string{"minimum", "maximum"}
	default:
		return ""
	}
	tags := ""
	for i, n := range []*int64{least, most} {
		if n != nil {
			tags += fmt.Sprintf(` %s:"%d"`, names[i], *n)
		}
	}
	return tags
}

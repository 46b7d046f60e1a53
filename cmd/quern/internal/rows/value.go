package rows

import (
	"fmt"
	"slices"
	"strings"
)

// distinctTypes are the types for which an expression can produce a different value for each
// row.
var distinctTypes = []string{
	"bigint", "integer", "smallint", "numeric", "real", "double precision", "text", "character varying", "character", "citext", "uuid", "bytea",
	"timestamp with time zone", "timestamp without time zone", "date", "inet", "oid",
}

func (c *column) canBeDistinct() bool { return c.Kind == "b" && slices.Contains(distinctTypes, c.Base) }

// value returns an expression for the i-th column of the row g.
func (t *table) value(c *column, i int) string {
	texts, numbers := t.constants(c)
	if c.distinct {
		// The first texts may be the only ones that a check accepts.
		if len(texts) > 0 && (c.Base == "text" || c.Base == "character varying" || c.Base == "character" || c.Base == "citext") {
			return fmt.Sprintf("CASE WHEN g <= %d THEN (ARRAY[%s])[g] ELSE %s END", len(texts), strings.Join(literals(texts), ", "), c.distinctValue())
		}
		return c.distinctValue()
	}
	value := c.anyValue(i, texts, numbers)
	var fallback string
	switch {
	case c.Default != nil:
		fallback = *c.Default
	case !c.NotNull:
		fallback = "NULL"
	default:
		return value
	}
	if c.NotNull {
		return fmt.Sprintf("CASE WHEN g %% 3 = 0 OR %s %% 4 = 0 THEN %s ELSE %s END", random(i+100), typed(fallback, c.Plain), typed(value, c.Plain))
	}
	return fmt.Sprintf("CASE g %% 3 WHEN 0 THEN %s WHEN 1 THEN %s ELSE CASE WHEN %s %% 2 = 0 THEN %s ELSE NULL END END",
		typed(fallback, c.Plain), typed(value, c.Plain), random(i+100), typed(value, c.Plain))
}

func typed(value, to string) string { return fmt.Sprintf("(%s)::%s", value, to) }

// distinctValue returns an expression that is different for each g.
func (c *column) distinctValue() string {
	switch c.Base {
	case "text", "character varying", "character", "citext":
		texts := []string{"'u' || g", "'u' || g || '@example.com'", "'https://example.com/' || g", "g::text", "md5(g::text)"}
		if c.Length > 0 && c.Length < 40 {
			texts = []string{"'u' || g", "g::text"}
		}
		value := pick("g / 3", texts)
		if c.Length > 0 {
			value = fmt.Sprintf("right(%s, %d)", value, c.Length)
		}
		return value
	case "uuid":
		return "md5(g::text)::uuid"
	case "bytea":
		return "CASE WHEN g % 2 = 0 THEN sha256(g::text::bytea) ELSE decode(md5(g::text), 'hex') END"
	case "timestamp with time zone", "timestamp without time zone":
		return "'2025-01-01 00:00:00'::timestamp + g * interval '1 second'"
	case "date":
		return "'2000-01-01'::date + (g % 100000)::int"
	case "inet":
		return "'10.0.0.0'::inet + g"
	case "smallint":
		return "g % 32767"
	}
	return "g"
}

// pick selects one of the expressions by a number.
func pick(number string, from []string) string {
	if len(from) == 1 {
		return from[0]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CASE (%s) %% %d", number, len(from))
	for i, value := range from {
		fmt.Fprintf(&b, " WHEN %d THEN %s", i, value)
	}
	return b.String() + " END"
}

// anyValue returns an expression that may have the same value in several rows.
func (c *column) anyValue(i int, texts, numbers []string) string {
	h := random(i)
	switch c.Kind {
	case "e":
		return "(ARRAY[" + strings.Join(literals(c.Labels), ", ") + "])[1 + " + fmt.Sprintf("%s %% %d]", h, len(c.Labels))
	case "c":
		return "'(" + strings.Repeat(",", max(int(c.Fields)-1, 0)) + ")'"
	case "r", "m":
		if c.Kind == "m" {
			return "'{}'"
		}
		return "'empty'"
	}
	if c.Element != "" && strings.HasSuffix(c.Base, "[]") {
		element := &column{Base: c.Element, Kind: c.Inner, Labels: c.Labels, Fields: c.Fields}
		return fmt.Sprintf("CASE WHEN %s %% 2 = 0 THEN '{}'::%s ELSE ARRAY[(%s)::%s]::%s END", h, c.Base, element.anyValue(i, nil, nil), c.Element, c.Base)
	}
	return c.baseValue(h, texts, numbers)
}

func literals(texts []string) (list []string) {
	for _, text := range texts {
		list = append(list, literal(text))
	}
	return list
}

// baseValue returns an expression for a type of PostgreSQL or of an extension.
func (c *column) baseValue(h string, texts, numbers []string) string {
	switch c.Base {
	case "boolean":
		return h + " % 2 = 0"
	case "smallint", "integer", "bigint", "numeric", "real", "double precision", "money", "oid":
		list := []string{h + " % 100", "1", "0"}
		for _, n := range numbers {
			list = append(list, n, n+" + 1")
		}
		return pick(h+" / 7", list)
	case "xid8": // has no cast from a number, and since PostgreSQL 16 refuses an empty text
		return "(" + h + " % 100)::text"
	case "text", "character varying", "character", "citext", "name", `"char"`:
		return c.textValue(h, texts)
	case "uuid":
		return "md5(" + h + "::text)::uuid"
	case "timestamp with time zone", "timestamp without time zone", "date":
		list := []string{"'2025-01-01'::timestamp + (" + h + " % 31536000) * interval '1 second'"}
		for _, text := range texts {
			if strings.Count(text, "-") >= 2 {
				list = append(list, literal(text)+"::timestamp + ("+h+" % 86400) * interval '1 second'")
			}
		}
		return pick(h+" / 7", list)
	case "time without time zone", "time with time zone":
		return "'00:00'::time + (" + h + " % 86400) * interval '1 second'"
	case "interval":
		return "(" + h + " % 100) * interval '1 day'"
	case "json", "jsonb":
		return pick(h, []string{"'{}'", "'[]'", "'\"x\"'", "'1'"})
	case "bytea":
		return pick(h, []string{"sha256(" + h + "::text::bytea)", "decode(md5(" + h + "::text), 'hex')", "''"})
	case "inet":
		return "'10.0.0.0'::inet + " + h
	case "cidr":
		return "'10.0.0.0/24'"
	case "macaddr":
		return "'08:00:2b:01:02:03'"
	case "bit", "bit varying":
		return "'" + strings.Repeat("0", max(int(c.Length), 1)) + "'"
	case "xml":
		return "'<a/>'"
	case "point":
		return "'(0,0)'"
	case "tsvector":
		return "to_tsvector('simple', 'word' || " + h + " % 100)"
	}
	return "''"
}

// textValue selects one of the texts that checks often require, or that the column's checks
// contain.
func (c *column) textValue(h string, texts []string) string {
	list := append(literals(texts), "'a'", "'abc'", "'Abc1'", "'1'", "'a@example.com'", "'https://example.com/a'", "'2025-01-01'", "md5("+h+"::text)", "'text ' || "+h)
	value := pick(h+" / 7", list)
	if c.Length > 0 {
		value = fmt.Sprintf("left(%s, %d)", value, c.Length)
	}
	return value
}

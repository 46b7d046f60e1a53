package scaffold

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Setup returns the statements that add the rows to which the examples refer.
func (d data) Setup() []string {
	var list []string
	for _, s := range d.setup {
		list = append(list, goText(s))
	}
	return list
}

// goText is a text as Go code has it.
func goText(s string) string {
	if strings.Contains(s, "`") {
		return strconv.Quote(s)
	}
	return "`" + s + "`"
}

// Bodies returns the bodies of requests that create the rows.
func (d data) Bodies() []string {
	var list []string
	for _, row := range d.rows {
		var members []string
		for _, c := range d.given() {
			members = append(members, d.memberJSON(c, row))
		}
		list = append(list, goText("{"+strings.Join(slices.DeleteFunc(members, func(s string) bool { return s == "" }), ",")+"}"))
	}
	return list
}

// memberJSON returns a member of a body, or empty for a member that is omitted.
func (d data) memberJSON(c *column, row map[string]any) string {
	m := d.member(c)
	v := row[c.name]
	if v == nil && c.notNull {
		return ""
	}
	return fmt.Sprintf("%q:%s", c.name, m.wireJSON(v))
}

// Ignored returns the members that the database generates or formats differently.
func (d data) Ignored() string {
	given := d.given()
	var list []string
	for _, m := range d.members {
		if m.text || !slices.Contains(given, m.column) || d.rows[0][m.name] == nil {
			list = append(list, strconv.Quote(m.field))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf(", cmpopts.IgnoreFields(%s{}, %s)", d.one, strings.Join(list, ", "))
}

// PathExample returns the key of the first row in a path.
func (d data) PathExample() string {
	var parts []string
	for _, c := range d.key {
		parts = append(parts, d.wireExample(d.member(c)))
	}
	return strings.Join(parts, ":")
}

// patch is a change of one member.
type patch struct{ Name, Body, Field string }

// Patch returns a change that sets a member to its value in another row.
func (d data) Patch() *patch {
	for _, c := range d.changed() {
		m := d.member(c)
		from, to := d.rows[0][c.name], d.rows[1][c.name]
		fk := slices.ContainsFunc(d.foreign, func(f foreignKey) bool { return slices.Contains(f.columns, c) })
		if to != nil && from != nil && !fk && !c.unique {
			return &patch{c.name, goText(fmt.Sprintf("{%q:%s}", c.name, m.wireJSON(to))), m.field}
		}
	}
	return nil
}

// Refused returns a body that sets a member to null although its column is NOT NULL, or nil.
func (d data) Refused() *patch {
	for _, c := range d.changed() {
		if m := d.member(c); c.notNull && m.wire != "json.RawMessage" {
			return &patch{c.name, goText(fmt.Sprintf("{%q:null}", c.name)), m.field}
		}
	}
	return nil
}

// Copied returns the parameters of the COPY that adds the rows, as Go code.
func (d data) Copied() []string {
	typ, params := d.copyParams()
	if typ == "" {
		return nil
	}
	var list []string
	for _, row := range d.rows {
		var values []string
		for i, c := range d.given() {
			if v := d.goValue(d.member(c), params[i], row[c.name]); v != "" {
				values = append(values, params[i].name+": "+v)
			}
		}
		list = append(list, "{"+strings.Join(values, ", ")+"}")
	}
	return list
}

// CopyType returns the type of the rows of a COPY.
func (d data) CopyType() string { typ, _ := d.copyParams(); return typ }

func (d data) copyParams() (string, []field) {
	m, ok := d.methods["Copy"+d.many]
	if !ok || len(m.params) != 1 {
		return "", nil
	}
	name := strings.TrimLeft(m.params[0].typ, "[]*")
	list := d.structs[name]
	if list == nil {
		return "", nil
	}
	return strings.Replace(m.params[0].typ, name, "db."+name, 1), list
}

// goValue returns a value as Go code, or empty for NULL.
func (d data) goValue(m *wired, p field, v any) string {
	if v == nil {
		return ""
	}
	text := v.(string)
	pointer := strings.HasPrefix(p.typ, "*")
	base := strings.TrimPrefix(p.typ, "*")
	value := ""
	element, array := strings.CutPrefix(base, "[]")
	switch {
	case m.text && base != "string":
		typ := strings.ReplaceAll(base, "interface{}", "any")
		if m.column.typ == "date" && base == "time.Time" {
			return fmt.Sprintf("parsed%s[time.Time](t, %q)", d.one, text)
		}
		value = fmt.Sprintf("parsed%s[%s](t, %q)", d.one, typ, text)
	case array && element != "byte":
		inner := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.TrimSuffix(strings.TrimPrefix(text, `{"`), `"}`))
		if d.isOwn(element) {
			element = "db." + element
		}
		return "[]" + element + "{" + goScalar(element, inner) + "}"
	case base == "[]byte" && m.wire == "[]byte":
		return fmt.Sprintf("[]byte{%s}", "0x"+text[2:4])
	case base == "[]byte", base == "json.RawMessage":
		return fmt.Sprintf("%s(`%s`)", base, text)
	case d.isOwn(base):
		value = fmt.Sprintf("db.%s(%q)", base, text)
	default:
		value = goScalar(base, text)
	}
	if !pointer {
		return value
	}
	if slices.Contains([]string{"int16", "int32", "int64", "float32", "float64"}, base) {
		value = base + "(" + value + ")"
	}
	return "new(" + value + ")"
}

func (d data) isOwn(typ string) bool {
	return !strings.Contains(typ, ".") && typ[0] >= 'A' && typ[0] <= 'Z' && !strings.HasPrefix(typ, "Null")
}

func goScalar(typ, text string) string {
	switch {
	case typ == "string", strings.HasPrefix(typ, "db."):
		return strconv.Quote(text)
	case typ == "uuid.UUID":
		return fmt.Sprintf("uuid.MustParse(%q)", text)
	case typ == "netip.Addr":
		return fmt.Sprintf("netip.MustParseAddr(%q)", text)
	case typ == "netip.Prefix":
		return fmt.Sprintf("netip.MustParsePrefix(%q)", text)
	case typ == "time.Time":
		year, seconds := text[:4], strings.TrimSuffix(text[len(text)-3:], "Z")
		return fmt.Sprintf("time.Date(%s, 1, 31, 12, 0, %s, 0, time.UTC)", year, strings.TrimLeft(seconds, "0:"))
	}
	return text
}

// Parses reports whether the test needs the function that parses texts.
func (d data) Parses() bool {
	return slices.ContainsFunc(d.Copied(), func(s string) bool { return strings.Contains(s, "parsed"+d.one) })
}

// FilterQueries returns one query string for each list by a reference, with the values of the
// first row.
func (d data) FilterQueries() (queries []string) {
	for _, f := range d.parents() {
		query := ""
		for _, c := range f.columns {
			v, ok := d.rows[0][c.name]
			if !ok || v == nil {
				query = ""
				break
			}
			query += "&" + url.QueryEscape(c.name) + "=" + url.QueryEscape(v.(string))
		}
		if query != "" {
			queries = append(queries, strconv.Quote(query))
		}
	}
	return queries
}

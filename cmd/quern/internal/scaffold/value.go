package scaffold

import (
	"fmt"
	"slices"
	"strings"
)

// wired describes how a column is encoded in the JSON of the API, the wire.
type wired struct {
	*column
	field string // of the struct that sqlc generates for the row
	typ   string // of the row's field
	wire  string // the Go type in the resource, without the pointer of NULL
	text  bool   // the JSON value is the text that PostgreSQL writes
	null  bool   // the JSON value is null for NULL
}

// plain are the Go types that encoding/json encodes in the intended form.
var plain = []string{"string", "bool", "int16", "int32", "int64", "float32", "float64", "time.Time", "uuid.UUID"}

// newWired decides how a column is encoded in JSON, by its Go type. A type without a natural
// form in JSON is a text, as PostgreSQL writes it.
func newWired(c *column, f field) *wired {
	w := &wired{column: c, field: f.name, typ: f.typ, null: !c.notNull}
	base := strings.TrimPrefix(f.typ, "*")
	element := strings.TrimPrefix(base, "[]")
	own := !strings.Contains(element, ".") && element[0] >= 'A' && element[0] <= 'Z' && !strings.HasPrefix(element, "Null")
	switch {
	case c.typ == "date" && element == "time.Time":
		w.wire, w.text = "string", true
	case base == "json.RawMessage", base == "[]byte" && (c.typ == "json" || c.typ == "jsonb"):
		w.wire = "json.RawMessage"
	case base == "[]byte":
		w.wire = base
	case own:
		w.wire = strings.TrimSuffix(base, element) + "db." + element
	case slices.Contains(plain, element):
		w.wire = base
	default:
		w.wire, w.text = "string", true
	}
	return w
}

// pointer reports whether the Go type must be a pointer, so that NULL is null.
func (w *wired) pointer() bool {
	return w.null && w.wire != "json.RawMessage" && !strings.HasPrefix(w.wire, "[]")
}

// Type is the type of the member in the resource.
func (w *wired) Type() string {
	if w.pointer() {
		return "*" + w.wire
	}
	return w.wire
}

// fromRow returns the expression that converts the column of a row to the member.
func (w *wired) fromRow() string {
	from := "row." + w.field
	switch {
	case w.text && w.column.typ == "date" && w.typ == "time.Time":
		return from + ".Format(time.DateOnly)"
	case w.text && w.null:
		return "postgres.Text(" + from + ")"
	case w.text && w.typ == "string":
		return from
	case w.text:
		return "*postgres.Text(" + from + ")"
	}
	return from
}

// tags returns the struct tags that describe the values of the member.
func (w *wired) tags(example string) string {
	var tags []string
	switch {
	case w.column.typ == "date" && w.text:
		tags = append(tags, `format:"date"`)
	case w.column.typ == "uuid" && w.wire != "[]uuid.UUID":
		tags = append(tags, `format:"uuid"`)
	}
	if len(w.labels) > 0 && !slices.ContainsFunc(w.labels, func(l string) bool { return strings.ContainsAny(l, ",\"`\\") }) {
		tags = append(tags, fmt.Sprintf("enum:%q", strings.Join(w.labels, ",")))
	}
	if example != "" && !strings.Contains(example, "`") {
		tags = append(tags, fmt.Sprintf("example:%q", example))
	}
	if len(tags) == 0 {
		return ""
	}
	return " " + strings.Join(tags, " ")
}

// bodyType returns the type of the member in a request that may omit it.
func (w *wired) bodyType() string {
	if w.null {
		return "Nullable[" + w.wire + "]"
	}
	return "Optional[" + w.wire + "]"
}

// assignment returns code that sets a parameter of a statement. from is the member of the body,
// which is optional or not. If the parameter must be parsed from a text, the code comes in
// apart, before the call.
func (w *wired) assignment(p field, from string, optional bool) (inline, apart string) {
	value := from
	if optional {
		value = from + ".ptr()"
	}
	target := strings.TrimPrefix(p.typ, "*")
	pointer := strings.HasPrefix(p.typ, "*")
	switch {
	case w.text && !(target == "string" && (pointer == optional || !pointer)):
		if !optional {
			value = "&" + value
		}
		return "", fmt.Sprintf("postgres.ParseText(%s, &p.%s)", value, p.name)
	case optional && !pointer:
		value = from + ".value()"
	case !optional && pointer:
		value = "&" + value
	}
	if w.wire == "json.RawMessage" && target == "[]byte" {
		return p.name + ": " + value, "" // one of the two types has no name, so the value can be assigned without a conversion
	}
	return p.name + ": " + value, ""
}

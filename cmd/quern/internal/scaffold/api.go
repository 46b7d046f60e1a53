package scaffold

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"quern/postgres/migrate"
)

//go:embed api.go.tmpl
var apiTemplate string

//go:embed test.go.tmpl
var testTemplate string

// imports are the import paths that depend on the project.
type imports struct{ db, runtime string }

// api is the code of a noun's operations.
type api struct {
	*table
	noun
	*generated
	imports
	rowType      string
	members      []*wired
	registration string // the line that registers the operations, and where it belongs
}

func newAPI(t *table, n noun, g *generated) (*api, error) {
	a := &api{table: t, noun: n, generated: g}
	rowType, fields, err := g.row("Get" + n.one)
	if err != nil {
		return nil, err
	}
	if other, _, err := g.row("Create" + n.one); err != nil || other != rowType {
		return nil, fmt.Errorf("generated code: Get%s and Create%s do not return the same struct: remove the options from sqlc.yaml that tell them apart", n.one, n.one)
	}
	if !strings.HasPrefix(g.methods["Get"+n.one].result, "*") {
		return nil, errors.New("the generated code returns structs and not pointers: set emit_result_struct_pointers: true in sqlc.yaml")
	}
	if len(fields) != len(t.columns) {
		return nil, fmt.Errorf("%s has %d fields for %d columns: run the generate command and look at its rows", rowType, len(fields), len(t.columns))
	}
	a.rowType = rowType
	for i, c := range t.columns {
		a.members = append(a.members, newWired(c, fields[i]))
	}
	for _, c := range t.key {
		m := a.member(c)
		if !slices.Contains([]string{"int16", "int32", "int64", "string", "uuid.UUID"}, m.typ) {
			return nil, fmt.Errorf("key column %s is a %s in Go, which cannot be part of a path: %s", c.name, m.typ, keyHint(c, m.typ))
		}
	}
	return a, a.refuseSingles()
}

// keyHint explains which columns can be a key.
func keyHint(c *column, typ string) string {
	switch {
	case strings.HasPrefix(typ, "*"):
		return "sqlc takes the column for nullable: write NOT NULL, and the PRIMARY KEY into CREATE TABLE"
	case c.typ == "uuid":
		return "set the override `- db_type: uuid, go_type: github.com/google/uuid.UUID` in sqlc.yaml"
	}
	return "use a key of type bigint, integer, text or uuid"
}

// refuseSingles refuses a statement whose only parameter would have to be parsed from a text,
// because its method takes the parameter directly and not in a struct.
func (a *api) refuseSingles() error {
	for _, query := range []string{"Create" + a.one, "Update" + a.one} {
		if name, params := a.params(query); name == "" && len(params) == 1 && query[0] == 'C' {
			if m := a.member(a.given()[0]); m.text && params[0].typ != "string" {
				return fmt.Errorf("%s takes one parameter, of the type %s, which has no plain form in Go: add another column to the table", query, params[0].typ)
			}
		}
	}
	return nil
}

func (a *api) member(c *column) *wired {
	return a.members[slices.Index(a.columns, c)]
}

// runtimeTables are the tables of the runtime and of its migrations, in any schema.
var runtimeTables = []string{"commit_markers", "server_histories", migrate.HistoryTable, "goose_db_version"}

// refuseRuntime refuses a table of the runtime, which no client must change.
func refuseRuntime(name string) error {
	if slices.Contains(runtimeTables, name[strings.LastIndex(name, ".")+1:]) {
		return fmt.Errorf("table %s: it belongs to the runtime and has no API", name)
	}
	return nil
}

// refuse returns the reason why no API can be generated for a table, or nil.
func (t *table) refuse() error {
	if len(t.key) == 0 {
		return fmt.Errorf("table %s has no primary key: add one, because pages and changes need it", t.name)
	}
	if len(t.columns) < 2 {
		return fmt.Errorf("table %s has one column: a statement of one column returns no struct: add a column, such as created_at", t.name)
	}
	return nil
}

// line is a member of a struct in the generated code.
type line struct{ Name, Type, Tag string }

// data holds the data of the templates.
type data struct {
	*api
	*example
}

func (d data) One() string          { return d.one }
func (d data) Many() string         { return d.many }
func (d data) Lower() string        { return d.lower }
func (d data) Lowers() string       { return d.lowers }
func (d data) Words() string        { return d.words }
func (d data) Plural() string       { return d.plural }
func (d data) Path() string         { return d.path }
func (d data) Row() string          { return d.rowType }
func (d data) DB() string           { return d.db }
func (d data) Runtime() string      { return d.runtime }
func (d data) Registration() string { return d.registration }
func (d data) Locked() bool         { return d.lock() != nil }
func (d data) Patched() bool        { return len(d.changed()) > 0 }

// Article is a or an.
func (d data) Article() string {
	if strings.ContainsRune("aeiou", rune(d.words[0])) {
		return "an"
	}
	return "a"
}

// Members returns the members of the resource.
func (d data) Members() (lines []line) {
	for _, m := range d.members {
		doc := ""
		if m.column == d.lock() {
			doc = ` doc:"Rises with each change. It is also the ETag."`
		}
		lines = append(lines, line{m.field, m.Type(), fmt.Sprintf("`json:%q%s%s`", m.name, m.tags(d.wireExample(m)), doc)})
	}
	return lines
}

// Values returns expressions for the values of the members, from a row.
func (d data) Values() (values []string) {
	for _, m := range d.members {
		values = append(values, m.field+": "+m.fromRow())
	}
	return values
}

// NewMembers returns the members of the body that creates a resource.
func (d data) NewMembers() (lines []line) {
	for _, c := range d.given() {
		m := d.member(c)
		typ, omit := m.Type(), ""
		if d.optional(m) {
			typ, omit = m.bodyType(), ",omitzero"
		}
		lines = append(lines, line{m.field, typ, fmt.Sprintf("`json:%q%s`", m.name+omit, m.limits()+m.tags(d.wireExample(m)))})
	}
	return lines
}

// optional reports whether a request that creates a row may omit a member.
func (d data) optional(m *wired) bool { return m.null || m.fallback != "" }

// PatchMembers returns the members of the body that changes a resource.
func (d data) PatchMembers() (lines []line) {
	for _, c := range d.changed() {
		m := d.member(c)
		lines = append(lines, line{m.field, m.bodyType(), fmt.Sprintf("`json:%q%s`", m.name+",omitzero", m.limits()+m.tags(d.wireExample(m)))})
	}
	return lines
}

// Create returns the body of the Go function that creates a resource.
func (d data) Create() string {
	query := "Create" + d.one
	typ, params := d.params(query)
	given := d.given()
	if len(given) == 0 {
		return "return q." + query + "(ctx)"
	}
	if typ == "" {
		inline, _ := d.member(given[0]).assignment(field{"x", params[0].typ}, "in.Body."+d.member(given[0]).field, d.optional(d.member(given[0])))
		return "return q." + query + "(ctx, " + strings.TrimPrefix(inline, "x: ") + ")"
	}
	var inline, apart []string
	for i, c := range given {
		m := d.member(c)
		in, ap := m.assignment(params[i], "in.Body."+m.field, d.optional(m))
		inline, apart = add(inline, in), add(apart, ap)
	}
	return d.call(query, typ, inline, apart)
}

func add(list []string, item string) []string {
	if item == "" {
		return list
	}
	return append(list, item)
}

// call returns a call whose argument is a struct of parameters. Some of the parameters are
// parsed in statements before it.
func (d data) call(query, typ string, inline, apart []string) string {
	literal := fmt.Sprintf("db.%s{%s}", typ, list(inline))
	if strings.HasPrefix(typ, "*") {
		literal = fmt.Sprintf("&db.%s{%s}", typ[1:], list(inline))
	}
	if len(apart) == 0 {
		return fmt.Sprintf("return q.%s(ctx, %s)", query, literal)
	}
	check := apart[0]
	if len(apart) > 1 {
		check = "errors.Join(\n" + strings.Join(apart, ",\n") + ",\n)"
	}
	return fmt.Sprintf("p := %s\nif err := %s; err != nil {\nreturn nil, err\n}\nreturn q.%s(ctx, p)", literal, check, query)
}

// list returns the elements of a composite literal, on one line if that is short.
func list(items []string) string {
	short := strings.Join(items, ", ")
	if len(short) <= 90 {
		return short
	}
	return "\n" + strings.Join(items, ",\n") + ",\n"
}

// Update returns the body of the Go function that changes a resource.
func (d data) Update() string {
	typ, params := d.params("Update" + d.one)
	var inline, apart []string
	next := 0
	take := func() field { next++; return params[next-1] }
	for _, c := range d.changed() {
		m := d.member(c)
		if !c.notNull {
			inline = append(inline, take().name+": patch."+m.field+".Set")
		}
		in, ap := m.assignment(take(), "patch."+m.field, true)
		inline, apart = add(inline, in), add(apart, ap)
	}
	for i := range d.key {
		inline = append(inline, take().name+": "+d.keyPart(i))
	}
	if d.lock() != nil {
		inline = append(inline, take().name+": ifVersion")
	}
	return d.call("Update"+d.one, typ, inline, apart)
}

// KeyType returns the Go type of the key.
func (d data) KeyType() string {
	if d.Composite() {
		return d.lower + "Key"
	}
	return d.member(d.key[0]).typ
}

// Composite reports whether the key needs a separate type, because it has several columns or is
// a text, which must be escaped in a path.
func (d data) Composite() bool {
	return len(d.key) > 1 || d.member(d.key[0]).typ == "string"
}

// KeyMembers returns the fields of a key with a separate type.
func (d data) KeyMembers() (lines []line) {
	for _, c := range d.key {
		lines = append(lines, line{d.member(c).field, d.member(c).typ, ""})
	}
	return lines
}

// keyPart returns an expression for the i-th part of key.
func (d data) keyPart(i int) string {
	if d.Composite() {
		return "key." + d.member(d.key[i]).field
	}
	return "key"
}

// KeyOf returns the expression for the key of a resource r.
func (d data) KeyOf() string {
	if !d.Composite() {
		return "r." + d.member(d.key[0]).field
	}
	var parts []string
	for _, c := range d.key {
		parts = append(parts, "r."+d.member(c).field)
	}
	return d.KeyType() + "{" + strings.Join(parts, ", ") + "}"
}

// Version returns the expression for the version of a resource r.
func (d data) Version() string {
	if c := d.lock(); c != nil {
		return "r." + d.member(c).field
	}
	return "0"
}

// keyed returns a call of a query whose parameters are the key and possibly a version.
func (d data) keyed(query string) string {
	typ, params := d.params(query)
	var values []string
	for i := range d.key {
		values = append(values, d.keyPart(i))
	}
	if len(params) > len(d.key) {
		values = append(values, "ifVersion")
	}
	if typ == "" {
		return query + "(ctx, " + values[0] + ")"
	}
	for i := range values {
		values[i] = params[i].name + ": " + values[i]
	}
	return fmt.Sprintf("%s(ctx, db.%s{%s})", query, typ, strings.Join(values, ", "))
}

// Get returns a call that reads the row with key.
func (d data) Get() string { return d.keyed("Get" + d.one) }

// Delete returns a call that removes the row with key.
func (d data) Delete() string { return d.keyed("Delete" + d.one) }

// filter is a list of the rows with a given reference.
type filter struct {
	Members []line // the query parameters
	Given   string // the condition under which all of its parameters are given
	Name    string // its name in the call of listName
	After   string
	Before  string
}

// Filters returns the filters, one for each reference by which rows can be listed.
func (d data) Filters() (filters []filter) {
	for _, f := range d.parents() {
		var fl filter
		var given []string
		for _, c := range f.columns {
			given = append(given, "in."+d.member(c).field+".Set")
		}
		fl.Given = strings.Join(given, " && ")
		fl.After, fl.Before = d.listCall("By"+by(f), f.columns)
		filters = append(filters, fl)
	}
	return filters
}

// FilterMembers returns the parameters of all filters, each of them once.
func (d data) FilterMembers() (lines []line) {
	seen := map[*column]bool{}
	for _, f := range d.parents() {
		for _, c := range f.columns {
			if m := d.member(c); !seen[c] {
				seen[c] = true
				with := ""
				if len(f.columns) > 1 {
					with = " Give all columns of the reference."
				}
				lines = append(lines, line{m.field, "Optional[" + m.wire + "]", fmt.Sprintf("`query:%q doc:%q`", m.name, "Only the "+d.plural+" with this "+m.name+"."+with)})
			}
		}
	}
	return lines
}

// Combinations describes which filters may be given together: none, or all columns of one
// reference. It is empty if there is no other combination.
func (d data) Combinations() string {
	members := d.FilterMembers()
	if len(members) < 2 {
		return ""
	}
	all := []string{fmt.Sprintf("[%d]bool{}", len(members))}
	for _, f := range d.parents() {
		var parts []string
		for i, m := range members {
			if slices.ContainsFunc(f.columns, func(c *column) bool { return d.member(c).field == m.Name }) {
				parts = append(parts, fmt.Sprintf("%d: true", i))
			}
		}
		all = append(all, fmt.Sprintf("[%d]bool{%s}", len(members), strings.Join(parts, ", ")))
	}
	return strings.Join(all, ", ")
}

// ListName names the list with its filters.
func (d data) ListName() string {
	call := fmt.Sprintf("listName(%q", d.path)
	for _, l := range d.FilterMembers() {
		name := l.Tag[len("`query:\"") : strings.Index(l.Tag[8:], `"`)+8]
		call += fmt.Sprintf(", %q, in.%s.ptr()", name, l.Name)
	}
	return call + ")"
}

// ListAfter and ListBefore return the calls of the list without a filter.
func (d data) ListAfter() string  { after, _ := d.listCall("", nil); return after }
func (d data) ListBefore() string { _, before := d.listCall("", nil); return before }

func (d data) listCall(suffix string, of []*column) (after, before string) {
	query := "List" + d.many + suffix
	typ, params := d.params(query + "After")
	var values []string
	for i, c := range of {
		values = append(values, params[i].name+": in."+d.member(c).field+".Value")
	}
	for i := range d.key {
		values = append(values, params[len(of)+i].name+": "+d.keyPart(i))
	}
	values = append(values, params[len(params)-1].name+": limit")
	call := func(side string) string {
		return fmt.Sprintf("q.%s%sStream(ctx, db.%s{%s})", query, side, strings.Replace(typ, "After", side, 1), strings.Join(values, ", "))
	}
	return call("After"), call("Before")
}

// code returns the text of the API.
func (a *api) code(e *example) string { return execute(apiTemplate, data{a, e}) }

// test returns the text of the test.
func (a *api) test(e *example) string { return execute(testTemplate, data{a, e}) }

func execute(text string, d data) string {
	var b bytes.Buffer
	if err := template.Must(template.New("").Parse(text)).Execute(&b, d); err != nil {
		panic(err) // the template does not fit its data
	}
	return b.String()
}

// known are the packages that generated code may import, in addition to the project's own.
var known = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "iter": "iter", "http": "net/http", "netip": "net/netip", "url": "net/url",
	"json": "encoding/json", "strings": "strings", "strconv": "strconv", "time": "time", "testing": "testing", "sync": "sync",
	"huma": "github.com/danielgtaylor/huma/v2", "uuid": "github.com/google/uuid", "cmp": "github.com/google/go-cmp/cmp",
	"cmpopts": "github.com/google/go-cmp/cmp/cmpopts", "pgtype": "github.com/jackc/pgx/v5/pgtype",
}

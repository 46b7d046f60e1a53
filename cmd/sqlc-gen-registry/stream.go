package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stream is what the streaming twin of a :many query is written from; its
// parts are what sqlc writes for the query itself.
type stream struct {
	*statement
	row     string   // the Go type of a row
	dests   []string // what the columns are read into, with row for a pointer to the row
	param   string   // "arg ListUsersParams"; empty without parameters
	args    []string // what is sent for $1, $2, …
	imports []string
	bare    struct{ param, row bool } // Go types the plugin had to work out
}

// streamSuffix follows the query's name.
const streamSuffix = "Stream"

func (s *statement) streamName() string { return s.Name + streamSuffix }

// planStreams works out the streams of a request, in the order of their names.
func planStreams(req *request, statements []*statement) ([]stream, []problem) {
	var streams []stream
	var problems []problem
	for _, s := range statements {
		if !s.policy.stream || s.kind != "many" {
			continue
		}
		st, err := planStream(req, s)
		if err != nil {
			problems = append(problems, s.problemf("@stream: %v", err))
			continue
		}
		streams = append(streams, st)
	}
	slices.SortFunc(streams, func(a, b stream) int { return strings.Compare(a.Name, b.Name) })
	return streams, problems
}

func planStream(req *request, s *statement) (stream, error) {
	st := stream{statement: s}
	if err := st.planRow(req); err != nil {
		return st, err
	}
	return st, st.planParams(req)
}

// planRow follows sqlc: one column is a bare type, the columns of a table are
// its model, and anything else a struct of the query's own.
func (st *stream) planRow(req *request) error {
	for _, c := range st.Columns {
		if c.EmbedTable != nil {
			return fmt.Errorf("sqlc.embed cannot be streamed: name the columns of %s", c.EmbedTable.Name)
		}
	}
	if len(st.Columns) == 1 {
		t, err := req.goType(st.Columns[0])
		if err != nil {
			return err
		}
		st.row, st.bare.row = t.name, true
		st.dests = []string{"row"}
		st.imports = append(st.imports, t.path)
		return nil
	}
	st.row = st.Name + "Row"
	model, err := req.model(st.Columns)
	if err != nil {
		return err
	}
	if model != "" {
		st.row = model
	}
	for _, field := range fieldNames(st.Columns) {
		st.dests = append(st.dests, "&row."+field)
	}
	return nil
}

// planParams follows sqlc with query_parameter_limit at 1: one parameter is
// bare, more are a struct.
func (st *stream) planParams(req *request) error {
	switch len(st.Params) {
	case 0:
	case 1:
		t, err := req.goType(st.Params[0].Column)
		if err != nil {
			return err
		}
		taken := strings.FieldsFunc(st.row, func(r rune) bool { return strings.ContainsRune("[]*.", r) })
		name := argName(st.Params[0], append(taken, lowerFirst(st.Name)))
		st.param, st.bare.param = name+" "+t.name, true
		st.args = []string{name}
		st.imports = append(st.imports, t.path)
	default:
		st.param = "arg " + st.Name + "Params"
		columns := make([]column, len(st.Params))
		for i, p := range st.Params {
			columns[i] = p.Column
		}
		for _, field := range fieldNames(columns) {
			st.args = append(st.args, "arg."+field)
		}
	}
	return nil
}

// emitStreams writes stream.go.
func emitStreams(pkg string, streams []stream) ([]byte, error) {
	imports := map[string]bool{"context": true, "iter": true, "quern/internal/postgres": true}
	for _, st := range streams {
		for _, path := range st.imports {
			imports[path] = path != ""
		}
	}
	maps.DeleteFunc(imports, func(_ string, used bool) bool { return !used })

	var b bytes.Buffer
	fmt.Fprintf(&b, header, pkg)
	b.WriteString("import (\n")
	std := func(path string) bool {
		host, _, _ := strings.Cut(path, "/")
		return !strings.Contains(host, ".") && host != "quern"
	}
	sorted := slices.Sorted(maps.Keys(imports))
	for _, path := range sorted {
		if std(path) {
			fmt.Fprintf(&b, "%q\n", path)
		}
	}
	b.WriteString("\n")
	for _, path := range sorted {
		if !std(path) {
			fmt.Fprintf(&b, "%q\n", path)
		}
	}
	b.WriteString(")\n")
	for _, st := range streams {
		st.emit(&b)
	}
	emitAgreement(&b, streams)
	return formatted("stream.go", b.Bytes())
}

// emit writes one stream.
func (st stream) emit(b *bytes.Buffer) {
	params := "ctx context.Context"
	if st.param != "" {
		params += ", " + st.param
	}
	args := strings.Join(append([]string{lowerFirst(st.Name)}, st.args...), ", ")
	dests := strings.Join(st.dests, ", ")
	if len(st.dests) > 3 {
		dests = "\n" + strings.Join(st.dests, ",\n") + ",\n"
	}
	fmt.Fprintf(b, `
// %[1]s yields the rows of %[2]s as they arrive,
// and an error, if there is one, last and with no row. It holds its connection
// until the loop is done. To leave the loop while many rows are still to come,
// cancel ctx too: without that they are read to the end and dropped.
func (q *Queries) %[1]s(%[3]s) iter.Seq2[%[4]s, error] {
	return postgres.Stream(ctx, q.db, func(row *%[4]s) []any {
		return []any{%[6]s}
	}, %[5]s)
}
`, st.streamName(), st.Name, params, st.row, args, dests)
}

// emitAgreement writes what does not compile where sqlc gave a query another
// Go type than its stream has: sqlc keeps its overrides to itself, so a type
// without a struct around it is the plugin's own conclusion.
func emitAgreement(b *bytes.Buffer, streams []stream) {
	var lines bytes.Buffer
	for _, st := range streams {
		param, arg := "", ""
		if st.param != "" {
			param, arg = ", "+st.param, ", "+strings.Fields(st.param)[0]
		}
		switch {
		case st.bare.row:
			fmt.Fprintf(&lines, "_ func(q *Queries, ctx context.Context%s) ([]%s, error) = (*Queries).%s\n", param, st.row, st.Name)
		case st.bare.param:
			fmt.Fprintf(&lines, "_ = func(q *Queries, ctx context.Context%s) { _, _ = q.%s(ctx%s) }\n", param, st.Name, arg)
		}
	}
	if lines.Len() == 0 {
		return
	}
	b.WriteString("\n// Where one of these does not compile, sqlc gave the query another Go type\n" +
		"// than its stream has: put that type under go_types in the plugin's options.\n" +
		"var (\n")
	lines.WriteTo(b)
	b.WriteString(")\n")
}

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// stream is what the streaming twin of a :many query is written from.
type stream struct {
	*statement
	method
	names []string // of its arguments
	dests []string // what the columns are read into, with row for a pointer to the row
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
	st := stream{statement: s, method: req.methodOf(s)}
	for _, c := range s.Columns {
		if c.EmbedTable != nil {
			return st, fmt.Errorf("sqlc.embed cannot be streamed: name the columns of %s", c.EmbedTable.Name)
		}
	}
	st.dests = []string{"row"}
	if st.bare == "" {
		st.dests = nil
		for _, f := range st.rowFields {
			st.dests = append(st.dests, "&row."+f.name)
		}
	}
	// The names that the body of the stream needs.
	taken := append([]string{"q", "ctx", "postgres", st.constant}, st.row.identifiers()...)
	for i, a := range st.args {
		name := a.name
		for slices.Contains(taken, name) {
			name += "_"
		}
		if len(st.sent) == len(st.args) && st.paramsStruct == "" {
			st.sent[i] = name
		}
		st.names = append(st.names, name)
		taken = append(taken, name)
	}
	return st, nil
}

// emitStreams writes stream.go.
func emitStreams(g *golang, streams []stream) ([]byte, error) {
	imports := imports("context", "iter", runtime)
	for _, st := range streams {
		// The fields of structs are not written here.
		for _, a := range st.args {
			imports.add(a.goType)
		}
		imports.add(st.row)
	}

	var b bytes.Buffer
	g.header(&b)
	imports.emit(&b)
	for _, st := range streams {
		st.emit(&b)
	}
	emitAgreement(&b, g, streams)
	return formatted("stream.go", b.Bytes())
}

// emit writes one stream.
func (st stream) emit(b *bytes.Buffer) {
	params := "ctx context.Context"
	for i, a := range st.args {
		params += ", " + st.names[i] + " " + a.goType.name
	}
	args := strings.Join(append([]string{st.constant}, st.sent...), ", ")
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
	return postgres.Stream(ctx, q.db, func(row *%[4]s) []interface{} {
		return []interface{}{%[6]s}
	}, %[5]s)
}
`, st.streamName(), st.Name, params, st.row.name, args, dests)
}

// emitAgreement writes what does not compile if sqlc gave a query other Go types than
// its stream has, because those are the plugin's own conclusion.
func emitAgreement(b *bytes.Buffer, g *golang, streams []stream) {
	b.WriteString("\n// If one of these does not compile, sqlc gave the query another Go type\n" +
		"// than its stream has: put that type under go_types in the plugin's options.\n" +
		"var (\n")
	for _, st := range streams {
		params, row := "", st.row.name
		for _, a := range st.args {
			params += ", " + a.goType.name
		}
		if st.bare == "" && g.resultPointers {
			row = "*" + row
		}
		fmt.Fprintf(b, "_ func(*Queries, context.Context%s) ([]%s, error) = (*Queries).%s\n", params, row, st.Name)
	}
	b.WriteString(")\n")
}

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// twin is what a second method of a query is written from.
type twin struct {
	*statement
	method
	names []string // of its arguments
	dests []string // what the columns are read into, with row for a pointer to the row
}

// twinNames returns the names of the twins that a query gets, by their directives.
func (s *statement) twinNames() map[string]string {
	names := map[string]string{}
	if s.policy.stream {
		names["@stream"] = s.streamName()
	}
	if s.policy.queue {
		names["@queue"] = s.queueName()
	}
	return names
}

// planTwins works out the twins of the statements that want one, in the order of their
// names. done is what is done to a query of each, and reserved are the names that its body
// needs.
func planTwins(req *request, statements []*statement, want func(*statement) bool, directive, done string, reserved ...string) ([]twin, []problem) {
	var twins []twin
	var problems []problem
	for _, s := range statements {
		if !want(s) {
			continue
		}
		if i := slices.IndexFunc(s.Columns, func(c column) bool { return c.EmbedTable != nil }); i >= 0 {
			problems = append(problems, s.problemf("%s: sqlc.embed cannot be %s: name the columns of %s", directive, done, s.Columns[i].EmbedTable.Name))
			continue
		}
		twins = append(twins, planTwin(req, s, reserved))
	}
	slices.SortFunc(twins, func(a, b twin) int { return strings.Compare(a.Name, b.Name) })
	return twins, problems
}

func planTwin(req *request, s *statement, reserved []string) twin {
	t := twin{statement: s, method: req.methodOf(s)}
	if t.row.name != "" {
		t.dests = []string{"row"}
	}
	if t.bare == "" {
		t.dests = nil
		for _, f := range t.rowFields {
			t.dests = append(t.dests, "&row."+f.name)
		}
	}
	taken := append(slices.Concat(reserved, []string{t.constant}), t.row.identifiers()...)
	for i, a := range t.args {
		name := a.name
		for slices.Contains(taken, name) {
			name += "_"
		}
		if len(t.sent) == len(t.args) && t.paramsStruct == "" {
			t.sent[i] = name
		}
		t.names = append(t.names, name)
		taken = append(taken, name)
	}
	return t
}

// twinImports are the imports of a file of twins.
func twinImports(twins []twin, paths ...string) importSet {
	set := imports(paths...)
	for _, t := range twins {
		// The fields of structs are not written there.
		for _, a := range t.args {
			set.add(a.goType)
		}
		set.add(t.row)
	}
	return set
}

// params are its parameters after the first one.
func (t twin) params(first string) string {
	params := first
	for i, a := range t.args {
		params += ", " + t.names[i] + " " + a.goType.name
	}
	return params
}

// sends are the constant and what is sent with it.
func (t twin) sends() string {
	return strings.Join(append([]string{t.constant}, t.sent...), ", ")
}

// reader is the function that returns what the columns of a row are read into.
func (t twin) reader() string {
	dests := strings.Join(t.dests, ", ")
	if len(t.dests) > 3 {
		dests = "\n" + strings.Join(t.dests, ",\n") + ",\n"
	}
	return fmt.Sprintf("func(row *%s) []interface{} {\nreturn []interface{}{%s}\n}", t.row.name, dests)
}

// result is what a row is in the result of sqlc's method.
func (t twin) result(g *golang) string {
	if t.pointer(g) {
		return "*" + t.row.name
	}
	return t.row.name
}

func (t twin) pointer(g *golang) bool { return t.bare == "" && g.resultPointers }

// emitAgreement writes what does not compile if sqlc gave a query other Go types than
// its twin has, because those are the plugin's own conclusion.
func emitAgreement(b *bytes.Buffer, g *golang, twins []twin) {
	b.WriteString("\n// If one of these does not compile, sqlc gave the query another Go type\n" +
		"// than its twin here has: put that type under go_types in the plugin's options.\n" +
		"var (\n")
	for _, t := range twins {
		params, results := "", "error"
		for _, a := range t.args {
			params += ", " + a.goType.name
		}
		switch t.kind {
		case "one":
			results = "(" + t.result(g) + ", error)"
		case "many":
			results = "([]" + t.result(g) + ", error)"
		case "execrows":
			results = "(int64, error)"
		}
		fmt.Fprintf(b, "_ func(*Queries, context.Context%s) %s = (*Queries).%s\n", params, results, t.Name)
	}
	b.WriteString(")\n")
}

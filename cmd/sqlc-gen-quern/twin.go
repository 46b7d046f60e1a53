package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// twin describes a second method of a query.
type twin struct {
	*statement
	method
	names []string // of its arguments
	dests []string // the destinations of the columns, where row is a pointer to the row
}

// twinNames returns the names of a query's further methods by directive.
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

// planTwins plans a further method for each statement that wants one, sorted by name. done
// is the participle for problems, and reserved are the names that the method's body uses.
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

// twinImports returns the imports of a file of twins.
func twinImports(twins []twin, paths ...string) importSet {
	set := imports(paths...)
	for _, t := range twins {
		// The file does not mention the fields of structs.
		for _, a := range t.args {
			set.add(a.goType)
		}
		set.add(t.row)
	}
	return set
}

// params returns the parameters, starting with the given one.
func (t twin) params(first string) string {
	params := first
	for i, a := range t.args {
		params += ", " + t.names[i] + " " + a.goType.name
	}
	return params
}

// sends returns the constant and the arguments that are sent.
func (t twin) sends() string {
	return strings.Join(append([]string{t.constant}, t.sent...), ", ")
}

// reader returns the function that returns the destinations of a row's columns.
func (t twin) reader() string {
	dests := strings.Join(t.dests, ", ")
	if len(t.dests) > 3 {
		dests = "\n" + strings.Join(t.dests, ",\n") + ",\n"
	}
	return fmt.Sprintf("func(row *%s) []interface{} {\nreturn []interface{}{%s}\n}", t.row.name, dests)
}

// result returns the type of a row in the result of sqlc's method.
func (t twin) result(g *golang) string {
	if t.pointer(g) {
		return "*" + t.row.name
	}
	return t.row.name
}

func (t twin) pointer(g *golang) bool { return t.bare == "" && g.resultPointers }

// emitAgreement writes declarations that do not compile if sqlc gave a query other Go
// types than its twin has. The plugin derives those types by itself, so they could differ.
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

package main

import (
	"go/build"
	gotoken "go/token"
	"io"
	"path"
	"slices"
	"strings"
)

// members are the field and the methods of Queries that exist without any query.
var members = []string{"AtCommit", "InTx", "InTxWith", "Pipeline", "QueueWithCommit", "WithTx", "db"}

// predeclared are the identifiers of Go that all generated code uses. A constant with such
// a name would shadow it in the whole package. The names of the types are added to them.
var predeclared = []string{"append", "bool", "byte", "error", "false", "int64", "nil", "string", "true"}

// checkClashes refuses names with which the code of sqlc and of this plugin would not
// compile.
func checkClashes(r *request, sources []sqlFile, statements []*statement) []problem {
	c := &clashes{request: r, declared: map[string]string{}, imports: map[string]bool{}, hidden: slices.Clone(predeclared)}
	methods := map[*statement]method{}
	byFile := map[string]map[string]bool{}
	for _, s := range statements {
		m := r.methodOf(s)
		methods[s] = m
		if byFile[s.fileOfCode()] == nil {
			byFile[s.fileOfCode()] = map[string]bool{"context": true}
		}
		if s.kind == "copyfrom" {
			c.hidden = append(c.hidden, "len")
		}
		for _, t := range m.types() {
			c.hidden = append(c.hidden, t.identifiers()...)
			if t.path != "" {
				byFile[s.fileOfCode()][t.path], c.imports[packageName(t)] = true, true
			}
		}
	}
	c.declare(statements, methods)
	for _, s := range statements {
		m := methods[s]
		avoidImports(&m, byFile[s.fileOfCode()])
		c.checkQuery(s, m, statements)
		c.checkLocals(s, m)
	}
	return append(c.problems, checkFileNames(r.golang, sources)...)
}

// clashes collects the names that one package declares.
type clashes struct {
	*request
	declared map[string]string // the names of the package, and the owner of each
	imports  map[string]bool   // the names of the imported packages
	hidden   []string          // predeclared names and types that a constant must not shadow
	problems []problem
}

func packageName(t goType) string {
	pkg, _, _ := strings.Cut(strings.TrimLeft(t.name, "[]*"), ".")
	return pkg
}

// fileOfCode returns the file that sqlc writes the query's method to.
func (s *statement) fileOfCode() string {
	if s.kind == "copyfrom" {
		return "copyfrom.go"
	}
	return s.Filename
}

// declare collects the names that sqlc and the plugin declare in the package in addition
// to the queries, and refuses duplicates.
func (c *clashes) declare(statements []*statement, methods map[*statement]method) {
	for _, name := range []string{"context", "pgx", "pgconn", "postgres"} {
		c.imports[name] = true
	}
	for name, what := range map[string]string{"DBTX": "sqlc's interface", "New": "sqlc's function", "Queries": "sqlc's struct", "Statements": "the registry"} {
		c.declared[name] = what
	}
	if c.golang.querier {
		c.declared["Querier"] = "sqlc's interface"
	}
	for _, s := range statements {
		c.imports["time"] = c.imports["time"] || s.policy.timeout > 0
		c.imports["iter"] = c.imports["iter"] || s.policy.stream
	}
	used := c.usedTypes(statements)
	for _, e := range c.enums() {
		if used == nil || used[e.goName] {
			c.imports["fmt"], c.imports["driver"] = true, true
			c.declareEnum(e)
		}
	}
	for _, m := range c.models() {
		if used == nil || used[m.goName] {
			c.declareModel(m)
		}
	}
	for _, s := range statements {
		m := methods[s]
		if m.paramsStruct != "" {
			c.declareOf(s, m.paramsStruct, "the struct of its parameters")
			c.checkFields(s, m.params, "parameters")
		}
		if m.rowDeclared {
			c.declareOf(s, m.row.name, "the struct of its rows")
			c.checkFields(s, m.rowFields, "columns")
		}
		if s.kind == "copyfrom" {
			c.declareOf(s, "iteratorFor"+s.Name, "the source of its rows")
		}
	}
}

// declareOf declares a name that belongs to a query.
func (c *clashes) declareOf(s *statement, name, what string) {
	if other := c.declared[name]; other != "" {
		c.problems = append(c.problems, s.problemf("%s would have the name %s, like %s: rename the query", what, name, other))
		return
	}
	c.declared[name] = what + " of " + s.Name
}

// checkFields refuses a struct that has two fields with the same name, or a field without
// a name.
func (c *clashes) checkFields(s *statement, fields []field, what string) {
	seen := map[string]bool{}
	for _, f := range fields {
		switch {
		case !gotoken.IsIdentifier(f.name):
			c.problems = append(c.problems, s.problemf("one of its %s has no letter or digit in its name, so sqlc cannot derive a field name: rename it", what))
		case seen[f.name]:
			c.problems = append(c.problems, s.problemf("two of its %s would be fields named %s: rename one of them", what, f.name))
		}
		seen[f.name] = true
	}
}

// checkQuery refuses a query name that Go, sqlc or the plugin uses.
func (c *clashes) checkQuery(s *statement, m method, statements []*statement) {
	refuse := func(format string, args ...any) {
		c.problems = append(c.problems, s.problemf(format+": rename the query", args...))
	}
	switch {
	case slices.Contains(members, s.Name):
		refuse("the generated Queries has a method %s", s.Name)
	case s.Name == "_":
		refuse("a method named _ cannot be called")
	}
	for directive, name := range s.twinNames() {
		if slices.Contains(members, name) {
			refuse("its %s would generate the method %s, which the generated Queries has already", directive, name)
		}
	}
	for _, other := range statements {
		for directive, name := range other.twinNames() {
			if s.Name == name {
				refuse("%s of %s generates a method with this name", directive, other.Name)
			}
			for own, same := range s.twinNames() {
				if s.Name < other.Name && same == name {
					refuse("its %s and the %s of %s would generate the same method %s", own, directive, other.Name, name)
				}
			}
		}
		if other.policy.batch.derived && s.Name == other.derivedName() {
			refuse("@batch of %s derives a statement with this name", other.Name)
		}
	}
	name := m.constant
	switch same := c.declared[name]; {
	case name == "" || name == "_":
		return
	case strings.HasPrefix(same, "the constant of "):
		c.problems = append(c.problems, s.problemf("its constant %s is also the constant of %s: rename one of them", name, strings.TrimPrefix(same, "the constant of ")))
	case same != "":
		refuse("its constant would have the name %s, like %s", name, same)
	case gotoken.IsKeyword(name), name == "init":
		refuse("its constant would have the name %s, which is reserved by Go", name)
	case slices.Contains(c.hidden, name):
		refuse("its constant would have the name %s and shadow an identifier that the generated code uses", name)
	case c.imports[name]:
		refuse("its constant would have the name %s, like a package that the generated code imports", name)
	case name == "ctx", name == "q", name == "b" && s.policy.queue:
		refuse("its constant would have the name %s, like a variable in each method", name)
	default:
		c.declared[name] = "the constant of " + s.Name
	}
}

// locals are the variables and predeclared names that sqlc's method of each kind uses, in
// addition to the types of its rows.
var locals = map[string][]string{
	"one":      {"ctx", "err", "row"},
	"many":     {"append", "ctx", "err", "items", "nil", "rows"},
	"exec":     {"ctx", "err"},
	"execrows": {"ctx", "err", "nil", "result"},
	"copyfrom": {"ctx", "string"},
}

// checkLocals refuses parameters and columns that would become variables with a name that
// sqlc's method already uses. The worst case is a parameter with the name of the constant,
// because its value would be sent instead of the statement.
func (c *clashes) checkLocals(s *statement, m method) {
	seen := map[string]bool{}
	used := locals[s.kind]
	if s.kind == "exec" && c.golang.wrapErrors {
		used = append(slices.Clip(used), "nil")
	}
	for _, a := range m.args {
		switch {
		case !gotoken.IsIdentifier(a.name):
			c.problems = append(c.problems, s.problemf("the parameter %s would be named %q in Go, which is not an identifier: write it as @name", c.spelled(s), a.name))
		case a.name == m.constant && a.name == "arg":
			c.problems = append(c.problems, s.problemf("its constant and its parameters would both be named arg: rename the query"))
		case a.name == m.constant:
			c.problems = append(c.problems, s.problemf("the parameter %s has the name of the query's constant and would be sent instead of the statement: rename one of them", a.name))
		case slices.Contains(used, a.name), slices.Contains(m.row.identifiers(), a.name), s.kind == "one" && m.bare == "" && a.name == "i", seen[a.name]:
			c.problems = append(c.problems, s.problemf("the parameter %s would have a name that the generated method uses: rename it, for example to @%s_value", a.name, a.name))
		}
		seen[a.name] = true
	}
	if s.kind == "many" {
		used = []string{"append", "items", "nil", "rows"} // the variable belongs to the loop
	}
	switch {
	case m.bare == "":
	case !gotoken.IsIdentifier(m.bare), m.bare == "_":
		c.problems = append(c.problems, s.problemf("its column is named %q, which sqlc cannot turn into a variable: add AS with a name without blanks and symbols", m.bare))
	case slices.Contains(used, m.bare), m.bare == "fmt" && c.golang.wrapErrors:
		c.problems = append(c.problems, s.problemf("its column %s would be read into a variable that the generated method uses: give it another name with AS", m.bare))
	}
}

// spelled returns the name, as in the query file, of the only parameter.
func (c *clashes) spelled(s *statement) string {
	return s.Params[0].name()
}

// checkFileNames refuses query files whose generated code Go would exclude on some
// systems. For example, user_windows.sql becomes user_windows.sql.go.
func checkFileNames(g *golang, sources []sqlFile) (problems []problem) {
	// No real system has these names, so only files for all systems match.
	all := build.Context{GOOS: "none", GOARCH: "none", Compiler: "gc", OpenFile: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package p\n")), nil
	}}
	for _, src := range sources {
		name := path.Base(src.path) + g.suffix
		if !strings.HasSuffix(name, ".go") {
			name += ".go"
		}
		if ok, err := all.MatchFile("", name); err != nil || !ok || strings.HasSuffix(name, "_test.go") {
			problems = append(problems, problem{where: src.path, text: "sqlc writes its queries to " + name + ", which Go excludes from the package on all or most systems because of its name: rename the file"})
		}
		if slices.Contains(g.outputs, name) || slices.Contains(ownFiles, name) {
			problems = append(problems, problem{where: src.path, text: "sqlc writes its queries to " + name + ", which is another file of the package: rename the file"})
		}
	}
	return problems
}

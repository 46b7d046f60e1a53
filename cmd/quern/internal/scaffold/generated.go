package scaffold

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
)

// generated is the package that sqlc has generated. Its names and types depend on options that
// only sqlc knows.
type generated struct {
	name    string
	structs map[string][]field
	methods map[string]method // of Queries
	imports map[string]string // by the name that a file uses for the package
}

// field is a field of a struct, or a parameter of a method.
type field struct{ name, typ string }

// method is a query: its parameters after the context, and its first result.
type method struct {
	params []field
	result string
}

func readGenerated(dir string) (*generated, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	g := &generated{structs: map[string][]field{}, methods: map[string]method{}, imports: map[string]string{}}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		g.name = f.Name.Name
		for _, i := range f.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			g.imports[path[strings.LastIndex(path, "/")+1:]] = path
			if i.Name != nil {
				g.imports[i.Name.Name] = path
			}
		}
		for _, d := range f.Decls {
			g.read(d)
		}
	}
	if len(g.methods) == 0 {
		return nil, fmt.Errorf("%s has no queries: %w", dir, os.ErrNotExist)
	}
	return g, nil
}

func (g *generated) read(d ast.Decl) {
	switch d := d.(type) {
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok {
				if s, ok := t.Type.(*ast.StructType); ok {
					g.structs[t.Name.Name] = fields(s.Fields)
				}
			}
		}
	case *ast.FuncDecl:
		if d.Recv == nil || types.ExprString(d.Recv.List[0].Type) != "*Queries" {
			return
		}
		m := method{}
		if p := fields(d.Type.Params); len(p) > 0 {
			m.params = p[1:]
		}
		if r := fields(d.Type.Results); len(r) > 0 {
			m.result = r[0].typ
		}
		g.methods[d.Name.Name] = m
	}
}

func fields(list *ast.FieldList) []field {
	var all []field
	if list == nil {
		return nil
	}
	for _, f := range list.List {
		typ := types.ExprString(f.Type)
		if len(f.Names) == 0 {
			all = append(all, field{"", typ})
		}
		for _, n := range f.Names {
			all = append(all, field{n.Name, typ})
		}
	}
	return all
}

// row returns the fields of the rows that a query returns, and the name of their type.
func (g *generated) row(query string) (string, []field, error) {
	m, ok := g.methods[query]
	name := strings.TrimPrefix(m.result, "*")
	if !ok || g.structs[name] == nil {
		return "", nil, fmt.Errorf("%s of the generated code returns no struct but %q: name at least two columns", query, m.result)
	}
	return name, g.structs[name], nil
}

// params returns the parameters of a query and the name of the struct type that contains them.
// The name is empty if the method takes its only parameter directly.
func (g *generated) params(query string) (string, []field) {
	m := g.methods[query]
	if len(m.params) == 1 {
		name := strings.TrimPrefix(m.params[0].typ, "*")
		if list := g.structs[name]; list != nil && strings.HasSuffix(name, "Params") {
			return m.params[0].typ, list
		}
	}
	return "", m.params
}

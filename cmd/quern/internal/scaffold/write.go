package scaffold

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// writeGo writes a Go file, with the imports that it needs, formatted.
func (w *writer) writeGo(name, text, module string) error {
	paths := map[string]string{"db": module + "/" + w.Generated, "postgres": w.Runtime + "/postgres"}
	for k, v := range known {
		paths[k] = v
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("%w in\n%s", err, text)
	}
	used := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && paths[x.Name] != "" {
				used[paths[x.Name]] = true
			}
		}
		return true
	})
	var std, others, own []string
	for path := range used {
		first, _, _ := strings.Cut(path, "/")
		switch {
		case path == paths["db"] || path == paths["postgres"]:
			own = append(own, path)
		case strings.Contains(first, "."):
			others = append(others, path)
		default:
			std = append(std, path)
		}
	}
	var b strings.Builder
	head, body, _ := strings.Cut(text, "\n")
	b.WriteString(head + "\n\nimport (\n")
	for i, group := range [][]string{std, others, own} {
		sort.Strings(group)
		if i > 0 && len(group) > 0 {
			b.WriteString("\n")
		}
		for _, path := range group {
			fmt.Fprintf(&b, "\t%q\n", path)
		}
	}
	b.WriteString(")\n" + body)
	formatted, err := format.Source([]byte(b.String()))
	if err != nil {
		return fmt.Errorf("%w in\n%s", err, b.String())
	}
	return w.write(name, string(formatted))
}

// checkNames refuses names that the package of the API already declares in files other than the
// given ones.
func (w *writer) checkNames(own map[string]bool) error {
	taken := []string{w.one, "New" + w.one, w.one + "Patch", w.lower + "Of", w.lowers, w.lower + "Create", w.lower + "Paging", w.lower + "Key"}
	files, err := filepath.Glob(filepath.Join(w.Dir, w.API, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range files {
		if own[filepath.Base(name)] {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			for _, declared := range declaredBy(d) {
				if slices.Contains(taken, declared) {
					return fmt.Errorf("noun %s: %s is already declared in %s: choose another name with --noun", w.words, declared, filepath.Join(w.API, filepath.Base(name)))
				}
			}
		}
	}
	return nil
}

// declaredBy returns the names that a declaration adds to its package.
func declaredBy(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

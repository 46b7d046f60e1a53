package main

import (
	"fmt"
	gotoken "go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// goType is a Go type and the import it takes, which may be none.
type goType struct {
	name string
	path string
}

// goTypes are what sqlc writes for pgx/v5 with emit_pointers_for_null_types;
// the types that need a package have no default worth guessing.
var goTypes = map[string]string{
	"smallint": "int16", "integer": "int32", "bigint": "int64",
	"real": "float32", "double precision": "float64",
	"boolean": "bool",
	"text":    "string", "varchar": "string", "char": "string", "citext": "string", "name": "string",
	"json": "[]byte", "jsonb": "[]byte", "bytea": "[]byte",
}

// goType is the Go type that sqlc gives a value outside a struct.
func (r *request) goType(c column) (goType, error) {
	// As in sqlc, an override of a column is the whole type, whatever else is
	// known about the value.
	if c.Table != nil {
		name := c.OriginalName
		if name == "" {
			name = c.Name
		}
		if t, ok := r.options.GoTypes[c.Table.Name+"."+name]; ok {
			return parseGoType(t), nil
		}
	}
	t, ok := r.elementType(c)
	if !ok {
		return goType{}, fmt.Errorf("%s is of type %s, whose Go type is not known: put it under go_types in the plugin's options in sqlc.yaml, as %s: time.Time",
			c.Name, c.sqlType(), c.element())
	}
	switch {
	case c.IsArray:
		t.name = strings.Repeat("[]", c.dims()) + t.name
	case !c.NotNull && !strings.HasPrefix(t.name, "[]"):
		t.name = "*" + t.name
	}
	return t, nil
}

func (r *request) elementType(c column) (goType, bool) {
	element := c.element()
	if t, ok := r.options.GoTypes[element]; ok {
		return parseGoType(t), true
	}
	if t, ok := goTypes[element]; ok {
		return goType{name: t}, true
	}
	for _, s := range r.Catalog.Schemas {
		for _, enum := range s.Enums {
			if s.Name == r.Catalog.DefaultSchema && enum.Name == element {
				return goType{name: goName(enum.Name)}, true
			}
			if s.Name+"."+enum.Name == element {
				return goType{name: goName(s.Name + "_" + enum.Name)}, true
			}
		}
	}
	return goType{}, false
}

// majorVersion is the last element of a module path that is no package name.
var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// parseGoType reads a type as sqlc's go_type writes it: the import path, a
// dot, and the name.
func parseGoType(s string) goType {
	named := strings.TrimLeft(s, "[]*")
	prefix := strings.TrimSuffix(s, named)
	dot := strings.LastIndex(named, ".")
	if dot < 0 {
		return goType{name: s}
	}
	imported := named[:dot]
	pkg := path.Base(imported)
	if majorVersion.MatchString(pkg) {
		pkg = path.Base(path.Dir(imported))
	}
	return goType{name: prefix + pkg + named[dot:], path: imported}
}

// model is the struct of the table whose columns these are, all of them and in
// its order, or empty.
func (r *request) model(columns []column) (string, error) {
	for _, s := range r.Catalog.Schemas {
		for _, t := range s.Tables {
			same := slices.EqualFunc(t.Columns, columns, func(of, c column) bool {
				return c.Table != nil && c.Table.Name == t.Rel.Name && r.schemaOf(*c.Table) == s.Name &&
					goName(c.Name) == goName(of.Name) && c.sqlType() == of.sqlType() && c.NotNull == of.NotNull
			})
			if !same {
				continue
			}
			if name, ok := r.options.Models[t.Rel.Name]; ok {
				return name, nil
			}
			name, ok := singular(t.Rel.Name)
			if !ok {
				return "", fmt.Errorf("the rows are those of table %s, whose struct has no plain name: put it under models in the plugin's options in sqlc.yaml, as %s: %s",
					t.Rel.Name, t.Rel.Name, goName(t.Rel.Name))
			}
			if s.Name != r.Catalog.DefaultSchema {
				name = s.Name + "_" + name
			}
			return goName(name), nil
		}
	}
	return "", nil
}

func (r *request) schemaOf(table identifier) string {
	if table.Schema == "" {
		return r.Catalog.DefaultSchema
	}
	return table.Schema
}

// irregular are the endings for which sqlc's inflection has rules of its own.
var irregular = regexp.MustCompile(`(^|[^a-z])(jeans|species)$|(ss|us|is|ses|xes|ches|shes|zes|oes|ves|ices|quies|news|movies|series|cookies|mombies|alias)$`)

// singular drops a plain plural s, or says that it takes more than that.
func singular(plural string) (string, bool) {
	stem, ok := strings.CutSuffix(plural, "s")
	if !ok || irregular.MatchString(plural) {
		return "", false
	}
	if y, ok := strings.CutSuffix(stem, "ie"); ok && y != "" && !strings.ContainsAny(y[len(y)-1:], "aeiouy") {
		return y + "y", true
	}
	return stem, true
}

// goName is the exported Go name that sqlc makes of a name in the database.
func goName(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	var b strings.Builder
	for _, w := range words {
		if w == "id" {
			b.WriteString("ID")
			continue
		}
		runes := []rune(w)
		runes[0] = unicode.ToUpper(runes[0])
		b.WriteString(string(runes))
	}
	if out := b.String(); out == "" || !unicode.IsDigit([]rune(out)[0]) {
		return out
	}
	return "_" + b.String()
}

// fieldNames are the fields of the struct that sqlc makes of columns or
// parameters: the second of two columns with one name gets a number.
func fieldNames(columns []column) []string {
	fields := make([]string, len(columns))
	seen := map[string]int{}
	for i, c := range columns {
		name := c.Name
		if name == "" {
			name = fmt.Sprintf("column_%d", i+1)
		}
		field := goName(name)
		seen[field]++
		fields[i] = field
		if n := seen[field]; n > 1 && !c.IsNamedParam {
			fields[i] = fmt.Sprintf("%s_%d", field, n)
		}
	}
	return fields
}

// locals are the names that the body of a stream has for itself.
var locals = []string{"q", "ctx", "any", "postgres"}

// argName is the Go name that sqlc makes of a single parameter, with an
// underscore where it would hide what the body of the stream needs: taken is
// the names in the row's type, and the query's constant.
func argName(p parameter, taken []string) string {
	if p.Column.Name == "" {
		return fmt.Sprintf("dollar_%d", p.Number)
	}
	parts := strings.Split(p.Column.Name, "_")
	name := strings.ToLower(parts[0])
	if len(parts) > 1 {
		name += goName(strings.Join(parts[1:], "_"))
	}
	if gotoken.IsKeyword(name) || slices.Contains(locals, name) || slices.Contains(taken, name) {
		name += "_"
	}
	return name
}

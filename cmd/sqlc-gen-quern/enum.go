package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// usedTypes returns the enums and models that sqlc writes with omit_unused_structs, or
// nil if it writes all. Like sqlc, it misses enums in arrays of parameters.
func (r *request) usedTypes(statements []*statement) map[string]bool {
	if !r.golang.omitUnused {
		return nil
	}
	used := map[string]bool{}
	for _, s := range statements {
		for _, t := range r.methodOf(s).types() {
			for _, name := range t.identifiers() {
				used[strings.TrimPrefix(name, "Null")], used[name] = true, true
			}
		}
		// The fields of a model that is the whole row.
		for _, c := range s.Columns {
			if c.EmbedTable == nil {
				continue
			}
			for _, m := range r.models() {
				if m.table.Rel.Name == c.EmbedTable.Name {
					for _, c := range m.table.Columns {
						for _, name := range r.goType(c).identifiers() {
							used[strings.TrimPrefix(name, "Null")], used[name] = true, true
						}
					}
				}
			}
		}
	}
	return used
}

// missingEnums returns the enums that the code uses but sqlc omits with
// omit_unused_structs. These are enums in an array that is a parameter or the only
// column, or that has several dimensions.
func (r *request) missingEnums(statements []*statement) (missing []enum) {
	if !r.golang.omitUnused {
		return nil
	}
	kept := map[string]bool{}
	for _, s := range statements {
		m := r.methodOf(s)
		for _, f := range append(slices.Concat(m.args, m.params), field{goType: m.row}) {
			kept[f.goType.name] = true
		}
		for _, f := range m.rowFields {
			kept[strings.TrimPrefix(f.goType.name, "[]")] = true
		}
		for _, c := range s.Columns {
			for _, model := range r.models() {
				if c.EmbedTable != nil && model.table.Rel.Name == c.EmbedTable.Name {
					for _, c := range model.table.Columns {
						kept[r.goType(c).name] = true
					}
				}
			}
		}
	}
	used := r.usedTypes(statements)
	for _, e := range r.enums() {
		if used[e.goName] && !kept[e.goName] && !kept["Null"+e.goName] && !kept["*"+e.goName] {
			missing = append(missing, e)
		}
	}
	return missing
}

// constants returns the Go names of an enum's values.
func (r *request) constants(e enum) []string {
	schema, name, _ := strings.Cut(e.name, ".")
	var names []string
	seen := map[string]bool{}
	for i, v := range e.values {
		value := strings.Map(func(c rune) rune {
			switch {
			case strings.ContainsRune("-/:_", c):
				return '_'
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
				return c
			}
			return -1
		}, v)
		if seen[value] || value == "" {
			value = fmt.Sprintf("value_%d", i)
		}
		seen[value] = true
		names = append(names, r.goName(r.inSchema(schema, name)+"_"+value))
	}
	return names
}

// emit writes an enum that sqlc omits, in the same form as sqlc.
func (e enum) emit(b *bytes.Buffer, r *request) {
	names := r.constants(e)
	fmt.Fprintf(b, "\n// %s is an enum that is only used in arrays, which sqlc leaves out.\ntype %s string\n\nconst (\n", e.goName, e.goName)
	for i, name := range names {
		fmt.Fprintf(b, "%s %s = %s\n", name, e.goName, strconv.Quote(e.values[i]))
	}
	b.WriteString(")\n")
	if r.golang.enumValid {
		fmt.Fprintf(b, "\nfunc (e %s) Valid() bool {\nswitch e {\ncase %s:\nreturn true\n}\nreturn false\n}\n", e.goName, strings.Join(names, ",\n"))
	}
	if r.golang.enumValues {
		fmt.Fprintf(b, "\nfunc All%sValues() []%s {\nreturn []%s{\n%s,\n}\n}\n", e.goName, e.goName, e.goName, strings.Join(names, ",\n"))
	}
}

// declareEnum declares the names that sqlc generates for an enum.
func (c *clashes) declareEnum(e enum) {
	where := "enum " + e.name
	c.declareInSchema(where, e.goName)
	c.declareInSchema(where, "Null"+e.goName)
	if c.golang.enumValues {
		c.declareInSchema(where, "All"+e.goName+"Values")
	}
	for i, name := range c.constants(e) {
		c.declareInSchema(fmt.Sprintf("%s, value %q", where, e.values[i]), name)
		if v := strconv.Quote(e.values[i]); v != `"`+e.values[i]+`"` {
			c.problems = append(c.problems, problem{where: "schema: " + where, text: "sqlc writes the value " + v + " into Go without escaping its quotes, backslashes and control characters, which changes it or does not compile: rename the value, or override the type in sqlc.yaml"})
		}
	}
}

// declareModel declares the struct of a table.
func (c *clashes) declareModel(m model) {
	where := "table " + m.schema + "." + m.table.Rel.Name
	c.declareInSchema(where, m.goName)
	seen := map[string]bool{}
	for _, column := range m.table.Columns {
		name := c.goName(column.Name)
		t := c.goType(column)
		c.hidden = append(c.hidden, t.identifiers()...)
		if t.path != "" {
			c.imports[packageName(t)] = true
		}
		if seen[name] || name == "" {
			c.problems = append(c.problems, problem{where: "schema: " + where, text: fmt.Sprintf("the column %q would be the field %q, which is empty or already the name of another field: set a name under rename in gen.go in sqlc.yaml", column.Name, name)})
		}
		seen[name] = true
	}
}

// declareInSchema declares a name for an object of the schema.
func (c *clashes) declareInSchema(where, name string) {
	if other := c.declared[name]; other != "" {
		c.problems = append(c.problems, problem{where: "schema: " + where, text: fmt.Sprintf("its Go name would be %s, like %s: set a name under rename in gen.go in sqlc.yaml", name, other)})
		return
	}
	if c.imports[name] || name == "" {
		c.problems = append(c.problems, problem{where: "schema: " + where, text: fmt.Sprintf("its Go name would be %q, which is not an identifier or is the name of a package: set a name under rename in gen.go in sqlc.yaml", name)})
		return
	}
	c.declared[name] = where
}

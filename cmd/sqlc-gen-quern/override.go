package main

import (
	"fmt"
	"regexp"
	"strings"
)

// override is a Go type that sqlc.yaml sets for columns or for a database type.
type override struct {
	dbType             string
	nullable, unsigned bool
	column             []*regexp.Regexp // schema, table, column
	goType             goType           // without a name if it has only struct tags
}

func newOverride(o settings) (override, error) {
	parsed := override{dbType: o.text("db_type"), nullable: o.is("nullable") || o.is("null"), unsigned: o.is("unsigned")}
	if parsed.dbType == "" {
		parsed.dbType = o.text("postgres_type")
	}
	if column := o.text("column"); column != "" {
		parts := strings.Split(column, ".")
		if len(parts) == 2 {
			parts = append([]string{""}, parts...)
		}
		if len(parts) != 3 {
			return parsed, fmt.Errorf("overrides: column %q: write [schema.]table.column", column)
		}
		for _, part := range parts {
			pattern, err := regexp.Compile("^" + wildcards(part) + "$")
			if err != nil {
				return parsed, fmt.Errorf("overrides: column %q: %w", column, err)
			}
			parsed.column = append(parsed.column, pattern)
		}
	}
	if t := o.in("go_type"); t != nil {
		parsed.goType = structuredGoType(t)
	} else if t := o.text("go_type"); t != "" {
		parsed.goType = parseGoType(t)
	}
	return parsed, nil
}

// wildcards converts a name with * and ? to a regular expression. A backslash escapes
// either of them.
func wildcards(name string) string {
	quoted := regexp.QuoteMeta(name)
	quoted = strings.NewReplacer(`\\\*`, `\*`, `\\\?`, `\?`, `\*`, `.*`, `\?`, `.`).Replace(quoted)
	return quoted
}

// matchesColumn reports whether the override applies to this column of a table.
func (o override) matchesColumn(r *request, c column) bool {
	if o.column == nil || c.Table == nil {
		return false
	}
	name := c.OriginalName
	if name == "" {
		name = c.Name
	}
	schema := r.schemaOf(*c.Table)
	inSchema := o.column[0].MatchString(schema)
	if o.column[0].String() == "^$" {
		inSchema = schema == r.Catalog.DefaultSchema
	}
	return inSchema && o.column[1].MatchString(c.Table.Name) && o.column[2].MatchString(name)
}

// matchesType reports whether the override applies to the type of a value.
func (o override) matchesType(c column) bool {
	return o.dbType != "" && o.dbType == c.dataType() && o.nullable != (c.NotNull || c.IsArray) && !o.unsigned
}

// majorVersion matches a last element of a module path that is not the package name.
var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// parseGoType parses a type that sqlc's go_type has as one string: the import path, a
// dot, and the name.
func parseGoType(spec string) goType {
	named := strings.TrimLeft(spec, "[]*")
	prefix := strings.TrimSuffix(spec, named)
	dot, slash := strings.LastIndex(named, "."), strings.LastIndex(named, "/")
	if dot < 0 {
		return goType{name: spec}
	}
	pkg, name := named[slash+1:dot], named[dot:]
	if majorVersion.MatchString(pkg) {
		pkg, _ = packageOf(named[:dot])
	}
	pkg = strings.TrimSuffix(strings.TrimPrefix(pkg, "go-"), "-go")
	return goType{name: prefix + pkg + name, path: named[:dot]}
}

// structuredGoType parses a type that sqlc's go_type has as a mapping.
func structuredGoType(t settings) goType {
	parsed := goType{name: t.text("type"), path: t.text("import"), alias: t.text("package")}
	if parsed.path != "" {
		pkg := parsed.alias
		if pkg == "" {
			pkg, parsed.alias = packageOf(parsed.path)
		}
		parsed.name = pkg + "." + parsed.name
	}
	if t.is("pointer") {
		parsed.name = "*" + parsed.name
	}
	if t.is("slice") {
		parsed.name = "[]" + parsed.name
	}
	return parsed
}

var notIdentifier = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// packageOf returns the package name that sqlc derives from an import path. The alias is
// the one that sqlc imports it with, if the name is not the last element of the path.
func packageOf(path string) (pkg, alias string) {
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	if majorVersion.MatchString(last) && len(parts) > 1 {
		last = parts[len(parts)-2]
	} else if !notIdentifier.MatchString(last) {
		return last, ""
	}
	alias = notIdentifier.ReplaceAllString(strings.ToLower(last), "_")
	return alias, alias
}

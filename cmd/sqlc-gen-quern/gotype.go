package main

import (
	"slices"
	"strings"
)

// goType is a Go type and the import it needs, if any.
type goType struct {
	name, path string
	alias      string // alias of the import, if it has one
}

// native is the Go type that sqlc uses for a value with pgx/v5, unless it is
// overridden.
type native struct {
	notNull string
	null    string // without emit_pointers_for_null_types; empty if that makes no difference
}

// natives maps the type names that sqlc knows to Go types. Any other name is that of an
// enum, of a composite type, or of a type for which sqlc has no Go type.
var natives = func() map[string]native {
	all := map[string]native{}
	add := func(n native, names ...string) {
		for _, name := range names {
			all[name] = n
		}
	}
	add(native{"int16", "pgtype.Int2"}, "smallserial", "serial2", "pg_catalog.serial2", "smallint", "int2", "pg_catalog.int2")
	add(native{"int32", "pgtype.Int4"}, "serial", "serial4", "pg_catalog.serial4", "integer", "int", "int4", "pg_catalog.int4")
	add(native{"int64", "pgtype.Int8"}, "bigserial", "serial8", "pg_catalog.serial8", "bigint", "int8", "pg_catalog.int8")
	add(native{"float32", "pgtype.Float4"}, "real", "float4", "pg_catalog.float4")
	add(native{"float64", "pgtype.Float8"}, "float", "double precision", "float8", "pg_catalog.float8")
	add(native{"bool", "pgtype.Bool"}, "boolean", "bool", "pg_catalog.bool")
	add(native{"string", "pgtype.Text"}, "text", "pg_catalog.varchar", "pg_catalog.bpchar", "string", "citext", "name", "ltree", "lquery", "ltxtquery")
	add(native{"time.Time", "sql.NullTime"}, "pg_catalog.timetz")
	add(native{notNull: "[]byte"}, "json", "pg_catalog.json", "jsonb", "pg_catalog.jsonb", "bytea", "blob", "pg_catalog.bytea")
	add(native{notNull: "net.HardwareAddr"}, "macaddr", "macaddr8")
	add(native{"netip.Addr", "*netip.Addr"}, "inet")
	add(native{"netip.Prefix", "*netip.Prefix"}, "cidr")
	for name, names := range map[string][]string{
		"Numeric": {"numeric", "pg_catalog.numeric", "money"}, "Date": {"date"}, "Time": {"pg_catalog.time"}, "UUID": {"uuid"},
		"Timestamp": {"timestamp", "pg_catalog.timestamp"}, "Timestamptz": {"timestamptz", "pg_catalog.timestamptz"},
		"Interval": {"interval", "pg_catalog.interval"}, "Hstore": {"hstore"}, "Bits": {"bit", "varbit", "pg_catalog.bit", "pg_catalog.varbit"},
		"Uint32": {"cid", "oid", "xid"}, "Uint64": {"xid8"}, "TID": {"tid"}, "Box": {"box"}, "Circle": {"circle"}, "Line": {"line"},
		"Lseg": {"lseg"}, "Path": {"path"}, "Point": {"point"}, "Polygon": {"polygon"},
	} {
		add(native{notNull: "pgtype." + name}, names...)
	}
	for of, name := range map[string]string{"Date": "date", "Timestamp": "ts", "Timestamptz": "tstz", "Numeric": "num", "Int4": "int4", "Int8": "int8"} {
		add(native{notNull: "pgtype.Range[pgtype." + of + "]"}, name+"range")
		add(native{notNull: "pgtype.Multirange[pgtype.Range[pgtype." + of + "]]"}, name+"multirange")
	}
	return all
}()

// nativeImports are the packages of the native types.
var nativeImports = map[string]string{
	"time": "time", "sql": "database/sql", "net": "net", "netip": "net/netip",
	"pgtype": "github.com/jackc/pgx/v5/pgtype", "pgvector": "github.com/pgvector/pgvector-go",
}

// unknownType is the type that sqlc uses if it has no Go type for a value.
const unknownType = "interface{}"

// goType returns the Go type that sqlc gives to a column or a parameter.
func (r *request) goType(c column) goType {
	if c.Table != nil {
		name := c.OriginalName
		if name == "" {
			name = c.Name
		}
		if t, ok := r.options.GoTypes[c.Table.Name+"."+name]; ok {
			return parseGoType(t)
		}
	}
	for _, o := range r.golang.overrides {
		if o.goType.name != "" && o.matchesColumn(r, c) {
			return o.goType
		}
	}
	t := r.elementType(c)
	if c.IsArray {
		t.name = strings.Repeat("[]", c.ArrayDims) + t.name
	}
	return t
}

// elementType returns the type of a value, or of the elements of an array.
func (r *request) elementType(c column) goType {
	if t, ok := r.options.GoTypes[c.element()]; ok {
		parsed := parseGoType(t)
		if !c.NotNull && !c.IsArray && !strings.HasPrefix(parsed.name, "[]") {
			parsed.name = "*" + parsed.name
		}
		return parsed
	}
	for _, o := range r.golang.overrides {
		if o.goType.name != "" && o.matchesType(c) {
			return o.goType
		}
	}
	name := r.nativeType(c)
	pkg, _, _ := strings.Cut(strings.TrimPrefix(name, "*"), ".")
	return goType{name: name, path: nativeImports[pkg]}
}

func (r *request) nativeType(c column) string {
	g, notNull := r.golang, c.NotNull || c.IsArray
	if n, ok := natives[c.dataType()]; ok {
		switch {
		case notNull || n.null == "":
			return n.notNull
		case g.nullPointers && !strings.HasPrefix(n.null, "*"):
			return "*" + n.notNull
		}
		return n.null
	}
	if c.dataType() == "vector" {
		if g.nullPointers {
			return "*pgvector.Vector"
		}
		return "pgvector.Vector"
	}
	if e := r.enumOf(c); e != nil {
		switch {
		case notNull:
			return e.goName
		case g.nullEnumPointers:
			return "*" + e.goName
		}
		return "Null" + e.goName
	}
	if r.isCompositeType(c) {
		switch {
		case notNull:
			return "string"
		case g.nullPointers:
			return "*string"
		}
		return "sql.NullString"
	}
	return unknownType
}

// dataType returns the type name that sqlc looks up.
func (c column) dataType() string {
	if c.Type.Schema != "" {
		return c.Type.Schema + "." + c.Type.Name
	}
	return c.Type.Name
}

// enum is an enum of the schema and its Go name.
type enum struct {
	name   string // with its schema
	goName string
	values []string
}

// enums returns the enums of the schema.
func (r *request) enums() (all []enum) {
	for _, s := range r.ownSchemas() {
		for _, e := range s.Enums {
			all = append(all, enum{s.Name + "." + e.Name, r.goName(r.inSchema(s.Name, e.Name)), e.Vals})
		}
	}
	return all
}

// enumOf returns the enum that is the type of a value, or nil.
func (r *request) enumOf(c column) *enum {
	for _, e := range r.enums() {
		if e.name == r.qualified(c) {
			return &e
		}
	}
	return nil
}

func (r *request) isCompositeType(c column) bool {
	for _, s := range r.ownSchemas() {
		for _, t := range s.CompositeTypes {
			if s.Name+"."+t.Name == r.qualified(c) {
				return true
			}
		}
	}
	return false
}

// qualified returns the type of a value with its schema.
func (r *request) qualified(c column) string {
	name := c.dataType()
	if !strings.Contains(name, ".") {
		return r.Catalog.DefaultSchema + "." + name
	}
	return name
}

// ownSchemas returns all schemas except those of PostgreSQL.
func (r *request) ownSchemas() []schema {
	return slices.DeleteFunc(slices.Clone(r.Catalog.Schemas), func(s schema) bool {
		return s.Name == "pg_catalog" || s.Name == "information_schema"
	})
}

// inSchema returns a name prefixed with its schema, as sqlc does in Go.
func (r *request) inSchema(schema, name string) string {
	if schema == r.Catalog.DefaultSchema {
		return name
	}
	return schema + "_" + name
}

func (r *request) schemaOf(table identifier) string {
	if table.Schema == "" {
		return r.Catalog.DefaultSchema
	}
	return table.Schema
}

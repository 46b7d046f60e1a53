package proof

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// catalog has the types of a database.
type catalog struct {
	types  map[uint32]*dbType
	byName map[string]*dbType
}

type dbType struct {
	oid, base, elem uint32
	name            string // as PostgreSQL formats it
	short           string // its name in pg_type
	array           bool
	text            bool // values are texts: text itself, enums, citext
}

const listTypes = `
SELECT t.oid, t.typbasetype, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.oid::regtype::text, t.typname::text, n.nspname::text,
       coalesce(p.prosrc IN ('enum_send', 'textsend', 'varcharsend', 'bpcharsend', 'namesend', 'charsend'), false), pg_type_is_visible(t.oid)
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_proc p ON p.oid = t.typsend`

func (c *catalog) load(ctx context.Context, conn *pgx.Conn) error {
	c.types, c.byName = map[uint32]*dbType{}, map[string]*dbType{}
	rows, err := conn.Query(ctx, listTypes)
	if err != nil {
		return err
	}
	var t dbType
	var schema string
	var visible bool
	_, err = pgx.ForEachRow(rows, []any{&t.oid, &t.base, &t.elem, &t.name, &t.short, &schema, &t.text, &visible}, func() error {
		found := t
		found.array = t.elem != 0
		c.types[t.oid] = &found
		c.byName[schema+"."+t.short] = &found
		if visible {
			c.byName[t.short] = &found
		}
		return nil
	})
	return err
}

// internalNames are the names in pg_type of types for which the registry uses
// the usual name.
var internalNames = map[string]string{
	"smallint": "int2", "integer": "int4", "bigint": "int8", "real": "float4", "double precision": "float8",
	"boolean": "bool", "char": "bpchar", "character": "bpchar", "character varying": "varchar", "bit varying": "varbit",
	"time without time zone": "time", "time with time zone": "timetz",
	"timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
}

// unknownType reports whether the name is one that sqlc uses for a value of
// unknown type. The generated code accepts any value for it.
func unknownType(name string) bool {
	element := strings.TrimRight(name, "[]")
	switch element {
	case "", "unknown", "record", "void", "trigger":
		return true
	}
	return strings.HasPrefix(element, "any")
}

// named returns the type with this name in the registry, and false if there is
// none.
func (c *catalog) named(name string) (t *dbType, array, ok bool) {
	element := strings.TrimRight(name, "[]")
	array = element != name
	plain := strings.ReplaceAll(element, `"`, "")
	if short, alias := internalNames[plain]; alias {
		plain = short
	}
	t, ok = c.byName[plain]
	return t, array, ok
}

// last returns the base type of a domain, through all levels.
func (c *catalog) last(t *dbType) *dbType {
	for t != nil && t.base != 0 {
		t = c.types[t.base]
	}
	return t
}

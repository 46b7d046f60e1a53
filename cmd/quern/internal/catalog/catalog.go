// Package catalog reads the schema of a database from PostgreSQL's catalog, and compares
// two of them.
//
//	Read, Schema, Object   catalog.go  what a database has
//	Compare, Difference    compare.go  where two schemas differ
//	Difference.Fix         fix.go      the statements that remove a difference
//	sql/                   a query for each kind of object
//
// It covers schemas, extensions, types, tables and partitions, columns, sequences,
// constraints, indexes, functions, views, triggers, policies, rules, statistics and grants, and
// comments if asked for. Of rarer kinds, such as operators and casts, it compares the
// names alone. The order of columns and what goose keeps for itself are left out.
package catalog

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Schema holds the objects of a database, by Object.Key.
type Schema struct {
	Version int // of the server, such as 150018
	Objects map[string]*Object
	order   []string
}

// Object is one object of a schema.
type Object struct {
	Kind   string // such as "table" or "constraint"
	Name   string // with its schema and its table, quoted where SQL needs it
	Parent string // the Name of the object with which it is created and dropped
	Attrs  []Attr
	Create string // the statement that creates it, without a semicolon; empty if it is not known
	Drop   string // the statement that drops it, likewise
}

// Attr is one property of an object.
type Attr struct{ Name, Value string }

// Key identifies an object within its schema.
func (o *Object) Key() string { return o.Kind + " " + o.Name }

// Attr returns the value of a property, empty if there is none.
func (o *Object) Attr(name string) string {
	for _, a := range o.Attrs {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// kinds are the files of sql/, in an order in which objects can be created.
var kinds = []string{
	"schema", "extension", "other", "type", "sequence", "table", "column", "function", "view", "constraint", "index",
	"trigger", "policy", "rule", "statistics", "grant", "comment",
}

//go:embed sql
var queries embed.FS

// Options say what Read reads in addition to the structure.
type Options struct {
	Comments bool
}

// Read reads the schema of the connection's database as of one moment. It changes
// nothing.
func Read(ctx context.Context, conn *pgx.Conn, opts Options) (*Schema, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	s := &Schema{Objects: map[string]*Object{}}
	// With this search_path PostgreSQL writes each name with its schema.
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog; SET LOCAL quote_all_identifiers = off"); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	err = tx.QueryRow(ctx, "SELECT current_setting('server_version_num')::int", pgx.QueryExecModeExec).Scan(&s.Version)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	for _, kind := range kinds {
		if kind == "comment" && !opts.Comments {
			continue
		}
		if err := s.read(ctx, tx, kind); err != nil {
			return nil, fmt.Errorf("read the schema: %s: %w", kind, err)
		}
	}
	s.completeTables()
	return s, nil
}

func (s *Schema) read(ctx context.Context, tx pgx.Tx, kind string) error {
	own, err := queries.ReadFile("sql/own.sql")
	if err != nil {
		return err
	}
	query, err := queries.ReadFile("sql/" + kind + ".sql")
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, string(own)+string(query), pgx.QueryExecModeExec)
	if err != nil {
		return err
	}
	var (
		o     Object
		attrs []string
	)
	_, err = pgx.ForEachRow(rows, []any{&o.Kind, &o.Name, &o.Parent, &attrs, &o.Create, &o.Drop}, func() error {
		object := o
		for i := 0; i+1 < len(attrs); i += 2 {
			object.Attrs = append(object.Attrs, Attr{attrs[i], attrs[i+1]})
		}
		s.Objects[object.Key()] = &object
		s.order = append(s.order, object.Key())
		return nil
	})
	return err
}

// completeTables adds the columns to the statements that create tables.
func (s *Schema) completeTables() {
	columns := map[string][]string{}
	for _, key := range s.order {
		if o := s.Objects[key]; o.Kind == "column" {
			_, definition, _ := strings.Cut(o.Create, " ADD COLUMN ")
			columns[o.Parent] = append(columns[o.Parent], definition)
		}
	}
	for _, o := range s.Objects {
		switch {
		case o.Kind == "foreign table":
			o.Create = "" // its server is not known
		case o.Kind != "table":
		case strings.Contains(o.Attr("partition of"), " FOR VALUES ") || strings.HasSuffix(o.Attr("partition of"), " DEFAULT"):
			o.Create += " PARTITION OF " + o.Attr("partition of") + partitionBy(o)
		default:
			o.Create += " (" + strings.Join(columns[o.Name], ", ") + ")"
			if parents := o.Attr("partition of"); parents != "" {
				o.Create += " INHERITS (" + parents + ")"
			}
			o.Create += partitionBy(o)
			if options := o.Attr("storage parameters"); options != "" {
				o.Create += " WITH (" + options + ")"
			}
		}
	}
}

func partitionBy(table *Object) string {
	if key := table.Attr("partition key"); key != "" {
		return " PARTITION BY " + key
	}
	return ""
}

// Tables returns the names of the tables, partitions included, in the order of the
// catalog.
func (s *Schema) Tables() (names []string) {
	for _, key := range s.order {
		if o := s.Objects[key]; o.Kind == "table" {
			names = append(names, o.Name)
		}
	}
	return names
}

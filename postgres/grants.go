package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MissingGrant is an object on which a role lacks privileges that statements need.
type MissingGrant struct {
	Object     string   // such as "table public.users"
	Privileges []string // in the order of the GRANT
	Statements []string // the names of the statements that need it, sorted
	Grant      string   // the statement that grants it, without a semicolon

	// Err is the server's error if the object could not be identified. All other fields
	// except Statements are then empty.
	Err error
}

// FindMissingGrants returns the privileges that the connection's role lacks for the
// statements, as far as the server and their text show. EXPLAIN checks the privileges on
// tables, columns, functions and schemas. Privileges on sequences are checked separately,
// because only nextval and similar functions check them when they run. The statements are
// not executed. A statement whose table does not exist is skipped.
func FindMissingGrants(ctx context.Context, conn *pgx.Conn, statements []Statement) ([]MissingGrant, error) {
	g := &grants{conn: conn, found: map[string]*MissingGrant{}}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	// A generic plan does not evaluate any function before its privilege is checked.
	if _, err := tx.Exec(ctx, "SET LOCAL plan_cache_mode = force_generic_plan"); err != nil {
		return nil, err
	}
	if err := tx.QueryRow(ctx, "SELECT quote_ident(current_user)", pgx.QueryExecModeExec).Scan(&g.role); err != nil {
		return nil, err
	}
	for _, s := range statements {
		if err := g.check(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	var list []MissingGrant
	for _, key := range slices.Sorted(maps.Keys(g.found)) {
		m := g.found[key]
		slices.Sort(m.Statements)
		list = append(list, *m)
	}
	return list, nil
}

// grants collects the missing privileges by object.
type grants struct {
	conn  *pgx.Conn
	role  string // quoted
	found map[string]*MissingGrant
}

// check finds the missing privileges of one statement.
func (g *grants) check(ctx context.Context, s Statement) error {
	n := needsOf(s.SQL)
	refused, err := g.explain(ctx, s, n)
	if err != nil {
		return err
	}
	named, err := g.lookUp(ctx, s, n, refused != nil)
	if err != nil {
		return err
	}
	if refused != nil && refused.Code == pgerrcode.InsufficientPrivilege && !named {
		g.found["~"+s.Name] = &MissingGrant{Statements: []string{s.Name}, Err: refused}
	}
	return nil
}

// explain returns the server's error for a statement: a missing privilege, or a missing table.
// The server also reports a table as missing if the role lacks USAGE on its schema.
func (g *grants) explain(ctx context.Context, s Statement, n *needs) (*pgconn.PgError, error) {
	sql := s.SQL
	if s.Kind == CopyFrom { // EXPLAIN does not accept COPY
		for table, columns := range n.inserts {
			sql = fmt.Sprintf("INSERT INTO %s (%s) SELECT %s", table, strings.Join(columns, ", "), nulls(len(columns)))
		}
	}
	arguments := ""
	if len(s.Params) > 0 && s.Kind != CopyFrom {
		arguments = "(" + nulls(len(s.Params)) + ")"
	}
	if _, err := g.conn.PgConn().Exec(ctx, "SAVEPOINT quern_grants").ReadAll(); err != nil {
		return nil, err
	}
	// Everything is removed again, because behind a pooler the next transaction may belong
	// to another session. A statement that cannot be prepared, such as SET CONSTRAINTS,
	// needs no grant.
	_, err := g.conn.PgConn().Exec(ctx, "PREPARE quern_grants AS "+sql+"\n; EXPLAIN EXECUTE quern_grants"+arguments+
		"; DEALLOCATE quern_grants; RELEASE quern_grants").ReadAll()
	if err == nil {
		return nil, nil
	}
	refused := (*pgconn.PgError)(nil)
	if !errors.As(err, &refused) {
		return nil, err
	}
	undo := func(sql string) error {
		_, err := g.conn.PgConn().Exec(ctx, "ROLLBACK TO quern_grants; "+sql+"RELEASE quern_grants").ReadAll()
		return err
	}
	if undo("DEALLOCATE quern_grants; ") != nil { // the error came before it was prepared
		if err := undo(""); err != nil {
			return nil, err
		}
	}
	if refused.Code != pgerrcode.InsufficientPrivilege && refused.Code != pgerrcode.UndefinedTable {
		return nil, nil // another kind of error
	}
	return refused, nil
}

func nulls(n int) string { return strings.Join(slices.Repeat([]string{"NULL"}, n), ", ") }

// relation is a table or sequence that a statement names.
type relation struct {
	Name       string // quoted, with its schema
	Schema     string // quoted
	SchemaUse  bool
	IsSequence bool
	Lacks      []string // of the requested privileges
	Drawn      []string // sequences used by defaults of its columns that the role may not use
}

// lookUpRelation finds a relation as the search_path would, but also in schemas without
// USAGE. currval and nextval need one of two privileges.
const lookUpRelation = `
	WITH path AS (
		SELECT CASE p WHEN '"$user"' THEN current_user::text ELSE btrim(p, '"') END AS schema, ord
		FROM unnest(string_to_array(current_setting('search_path'), ', ')) WITH ORDINALITY AS t (p, ord)
	)
	SELECT format('%I.%I', n.nspname, c.relname) AS name, quote_ident(n.nspname) AS schema,
	       has_schema_privilege(n.oid, 'USAGE')  AS schema_use,
	       c.relkind = 'S'                       AS is_sequence,
	       ARRAY(SELECT p FROM unnest($3::text[]) WITH ORDINALITY AS t (p, ord)
	             WHERE CASE WHEN c.relkind <> 'S' THEN NOT has_table_privilege(c.oid, p)
	                        WHEN p = 'USAGE' THEN NOT has_sequence_privilege(c.oid, 'USAGE, UPDATE')
	                        ELSE NOT has_sequence_privilege(c.oid, p) END
	             ORDER BY ord)::text[]           AS lacks,
	       ARRAY(SELECT DISTINCT format('%I.%I', sn.nspname, s.relname)
	             FROM pg_attrdef AS d
	             JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND NOT quote_ident(a.attname) = ANY($4::text[])
	             JOIN pg_depend AS dep ON dep.classid = 'pg_attrdef'::regclass AND dep.objid = d.oid AND dep.refclassid = 'pg_class'::regclass
	             JOIN pg_class AS s ON s.oid = dep.refobjid
	             JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
	             WHERE d.adrelid = c.oid AND $5
	               AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END)::text[] AS drawn
	FROM pg_class AS c
	JOIN pg_namespace AS n ON n.oid = c.relnamespace
	LEFT JOIN path ON path.schema = n.nspname
	WHERE c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
	  AND CASE WHEN $1 = '' THEN path.schema IS NOT NULL ELSE n.nspname = $1 END
	ORDER BY path.ord
	LIMIT 1`

// lookUp adds the privileges that a statement lacks, and reports whether one of them is
// checked by EXPLAIN. It checks tables only if EXPLAIN failed, because grants on columns
// may be sufficient.
func (g *grants) lookUp(ctx context.Context, s Statement, n *needs, refused bool) (named bool, err error) {
	for table, privileges := range n.tables {
		columns, inserts := n.inserts[table]
		if !refused && !inserts {
			continue
		}
		r, err := g.relation(ctx, table, privileges, columns, inserts)
		if err != nil || r == nil {
			if err != nil {
				return false, err
			}
			continue
		}
		for _, sequence := range r.Drawn {
			g.add(s, "SEQUENCE", sequence, "USAGE")
		}
		if refused && !r.SchemaUse {
			g.add(s, "SCHEMA", r.Schema, "USAGE")
			named = true
		}
		if refused && !r.IsSequence && len(r.Lacks) > 0 {
			g.add(s, "TABLE", r.Name, r.Lacks...)
			named = true
		}
	}
	if err := g.lookUpSequences(ctx, s, n); err != nil {
		return false, err
	}
	if !refused {
		return false, nil
	}
	functions, err := g.functions(ctx, n.functions)
	for _, f := range functions {
		g.add(s, "FUNCTION", f, "EXECUTE")
	}
	return named || len(functions) > 0, err
}

func (g *grants) lookUpSequences(ctx context.Context, s Statement, n *needs) error {
	const ofSerial = "pg_get_serial_sequence"
	need := maps.Clone(n.sequences)
	for _, of := range n.serials {
		var name *string
		// From the catalog, because the function rejects a table in a schema without USAGE.
		r, err := g.relation(ctx, of[0], nil, nil, false)
		if err != nil || r == nil || !r.SchemaUse {
			return err
		}
		if err := g.conn.QueryRow(ctx, "SELECT "+ofSerial+"($1, $2)", r.Name, of[1]).Scan(&name); err != nil {
			return err
		}
		if name != nil {
			need[*name] = union(need[*name], n.sequences[ofSerial])
		}
	}
	delete(need, ofSerial)
	for name, privileges := range need {
		r, err := g.relation(ctx, name, privileges, nil, false)
		if err != nil {
			return err
		}
		if r == nil || !r.IsSequence || len(r.Lacks) == 0 {
			continue
		}
		g.add(s, "SEQUENCE", r.Name, r.Lacks...)
	}
	return nil
}

// relation looks up a name as written. It returns nil if there is no such relation.
func (g *grants) relation(ctx context.Context, written string, privileges, columns []string, inserts bool) (*relation, error) {
	schema, name := nameParts(written)
	if columns == nil {
		columns = []string{}
	}
	rows, err := g.conn.Query(ctx, lookUpRelation, pgx.QueryExecModeExec, schema, name, privileges, columns, inserts)
	if err != nil {
		return nil, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByNameLax[relation])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return r, err
}

// functions returns those of the given functions that the role may not call.
func (g *grants) functions(ctx context.Context, names []string) ([]string, error) {
	var plain []string
	for _, name := range names {
		_, name = nameParts(name)
		plain = append(plain, name)
	}
	rows, err := g.conn.Query(ctx, `SELECT oid::regprocedure::text FROM pg_proc
		WHERE proname = ANY($1::text[]) AND NOT has_function_privilege(oid, 'EXECUTE') ORDER BY 1`, pgx.QueryExecModeExec, plain)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// add records that a statement lacks privileges on an object.
func (g *grants) add(s Statement, kind, name string, privileges ...string) {
	key := kind + " " + name
	m := g.found[key]
	if m == nil {
		m = &MissingGrant{Object: strings.ToLower(kind) + " " + name}
		g.found[key] = m
	}
	m.Privileges = union(m.Privileges, privileges)
	slices.SortFunc(m.Privileges, func(a, b string) int { return slices.Index(privilegeOrder, a) - slices.Index(privilegeOrder, b) })
	m.Statements = union(m.Statements, []string{s.Name})
	m.Grant = fmt.Sprintf("GRANT %s ON %s TO %s", strings.Join(m.Privileges, ", "), key, g.role)
}

// privilegeOrder is the order of privileges in a GRANT.
var privilegeOrder = []string{"USAGE", "EXECUTE", "SELECT", "INSERT", "UPDATE", "DELETE"}

package proof

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
)

func (c *checker) load(ctx context.Context) error { return c.catalog.load(ctx, c.conn) }

// checkParams compares the parameters with those that the server expects.
func (c *checker) checkParams(s postgres.Statement, oids []uint32) (problems []string) {
	if len(oids) != len(s.Params) {
		return []string{fmt.Sprintf("the server expects %d parameters, but the generated code sends %d: write each parameter as @name", len(oids), len(s.Params))}
	}
	for i, p := range s.Params {
		if server := c.types[oids[i]]; !c.fits(p.Type, server, sends) {
			problems = append(problems, fmt.Sprintf("the parameter @%s is sent as %s, but the server expects %s: cast it: @%s::%s",
				p.Name, p.Type, server.name, p.Name, server.name))
		}
	}
	return problems
}

// checkColumns compares the columns with those that the server returns.
func (c *checker) checkColumns(s postgres.Statement, fields []pgconn.FieldDescription) (problems []string) {
	if s.Kind != postgres.One && s.Kind != postgres.Many {
		return nil
	}
	if len(fields) == 0 {
		return []string{fmt.Sprintf("it returns no columns, which :%s needs: use :exec or :execrows, or add RETURNING", s.Kind)}
	}
	if len(fields) != len(s.Columns) {
		return []string{fmt.Sprintf("the server returns %d columns, but the generated code scans %d: name the columns, not *, and use forms that sqlc knows",
			len(fields), len(s.Columns))}
	}
	for i, column := range s.Columns {
		if server := c.types[fields[i].DataTypeOID]; !c.fits(column.Type, server, scans) {
			problems = append(problems, fmt.Sprintf("the column %s is scanned as %s, but the server returns %s: cast it: (…)::%s",
				columnName(column, i), column.Type, server.name, server.name))
		}
	}
	return problems
}

func columnName(c postgres.Column, i int) string {
	if c.Name == "" {
		return fmt.Sprint(i + 1)
	}
	return c.Name
}

// direction is the direction in which a value is sent.
type direction int

const (
	sends direction = iota // from the generated code to the server
	scans
)

// Numbers from the narrowest to the widest.
var (
	integers = []string{"int2", "int4", "int8"}
	floats   = []string{"float4", "float8"}
)

// fits reports whether every value of the type that sqlc has inferred can be sent as
// the server's type, or the reverse.
func (c *checker) fits(inferred string, server *dbType, d direction) bool {
	if unknownType(inferred) || server == nil {
		return true
	}
	own, array, ok := c.named(inferred)
	if !ok {
		return false
	}
	server = c.last(server)
	own = c.last(own)
	if own.array && !array { // a domain over an array
		own, array = c.last(c.types[own.elem]), true
	}
	if array != server.array {
		return d == sends && own.text && !array
	}
	if array {
		server = c.last(c.types[server.elem])
	}
	from, to := own, server
	if d == scans {
		from, to = server, own
	}
	return sameValues(from, to) || d == sends && from.text && !array
}

// sameValues reports whether pgx can convert a value of one type to the other
// without loss. The exception is a numeric as a float64, which may lose digits,
// because sqlc uses that for avg().
func sameValues(from, to *dbType) bool {
	wider := func(of []string) bool {
		i, j := slices.Index(of, from.short), slices.Index(of, to.short)
		return i >= 0 && j >= i
	}
	json := []string{"json", "jsonb"}
	switch {
	case from.oid == to.oid, from.text && to.text, wider(integers), wider(floats):
		return true
	case slices.Contains(json, from.short) && slices.Contains(json, to.short):
		return true
	case to.short == "numeric":
		return slices.Contains(integers, from.short) || slices.Contains(floats, from.short)
	case to.short == "float8":
		return from.short == "int2" || from.short == "int4" || from.short == "numeric"
	}
	return false
}

var copyStatement = regexp.MustCompile(`(?s)^copy (.*) \( (.*) \) from stdin binary;$`)

// checkCopy checks a table's columns instead of the COPY, because a COPY cannot be
// described.
func (c *checker) checkCopy(ctx context.Context, s postgres.Statement) ([]string, error) {
	parts := copyStatement.FindStringSubmatch(s.SQL)
	if parts == nil {
		return []string{"it is not a COPY that pgx would send: generate the code again"}, nil
	}
	described, err := c.conn.Prepare(ctx, "", fmt.Sprintf("SELECT %s FROM %s", parts[2], parts[1]))
	if err != nil {
		return []string{fmt.Sprintf("the server cannot prepare it: %s: correct the statement", serverText(err))}, nil
	}
	var problems []string
	for i, p := range s.Params {
		server := c.types[described.Fields[i].DataTypeOID]
		if !c.fits(p.Type, server, sends) {
			problems = append(problems, fmt.Sprintf("the column %s is sent as %s, but the server expects %s: correct its type in the migrations",
				p.Name, p.Type, strings.ToLower(server.name)))
		}
	}
	return problems, nil
}

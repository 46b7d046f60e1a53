package conn

import (
	"cmp"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// batchRows are the rows of one result of a Batch. They implement pgx.Rows as pgx does, except
// that each Scan looks up how its columns are read.
type batchRows struct {
	conn   *pgx.Conn
	reader *pgconn.ResultReader
	fields []pgconn.FieldDescription

	values [][]byte // of the current row
	tag    pgconn.CommandTag
	err    error
	closed bool
}

func (r *batchRows) Next() bool {
	if r.closed {
		return false
	}
	if !r.reader.NextRow() {
		r.Close()
		return false
	}
	r.values = r.reader.Values()
	return true
}

func (r *batchRows) Scan(dest ...any) error {
	var err error
	if scanner, ok := first(dest).(pgx.RowScanner); ok && len(dest) == 1 {
		err = scanner.ScanRow(r)
	} else {
		err = pgx.ScanRow(r.TypeMap(), r.fields, r.values, dest...)
	}
	return r.fail(err)
}

func first(dest []any) any {
	if len(dest) == 0 {
		return nil
	}
	return dest[0]
}

// fail ends the rows if err is not nil, and returns it.
func (r *batchRows) fail(err error) error {
	if err != nil {
		r.err = cmp.Or(r.err, err)
		r.Close()
	}
	return err
}

var errRowsClosed = errors.New("rows is closed")

func (r *batchRows) Values() ([]any, error) {
	if r.closed {
		return nil, errRowsClosed
	}
	list := make([]any, len(r.fields))
	for i := range r.fields {
		var err error
		if list[i], err = r.value(&r.fields[i], r.values[i]); err != nil {
			return nil, r.fail(err)
		}
	}
	return list, nil
}

// value decodes a value to the Go type that pgx chooses for it.
func (r *batchRows) value(f *pgconn.FieldDescription, raw []byte) (any, error) {
	t, known := r.TypeMap().TypeForOID(f.DataTypeOID)
	switch {
	case raw == nil:
		return nil, nil
	case known:
		return t.Codec.DecodeValue(r.TypeMap(), f.DataTypeOID, f.Format, raw)
	case f.Format == pgx.TextFormatCode:
		return string(raw), nil
	}
	return slices.Clone(raw), nil
}

func (r *batchRows) Close() {
	if r.closed {
		return
	}
	r.closed, r.values = true, nil
	tag, err := r.reader.Close()
	r.tag, r.err = tag, cmp.Or(r.err, err)
}

func (r *batchRows) Err() error                                   { return r.err }
func (r *batchRows) CommandTag() pgconn.CommandTag                { return r.tag }
func (r *batchRows) FieldDescriptions() []pgconn.FieldDescription { return r.fields }
func (r *batchRows) RawValues() [][]byte                          { return r.values }
func (r *batchRows) Conn() *pgx.Conn                              { return r.conn }
func (r *batchRows) TypeMap() *pgtype.Map                         { return r.conn.TypeMap() }

// batchRow is the row of a result that has one.
type batchRow struct{ rows *batchRows }

func (r batchRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		return cmp.Or(r.rows.err, pgx.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.err
}

package postgres

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// keyOf returns what tells the rows of a read apart: the bytes in which the
// server writes the argument. It is nil where equal values may be written
// differently, or are equal only to a collation.
func keyOf(s *Statement) func(args []any) (string, bool) {
	if len(s.Params) != 1 {
		return nil
	}
	switch s.Params[0].Type {
	case "bigint":
		return func(args []any) (string, bool) {
			id, ok := args[0].(int64)
			return string(idKey(id)), ok
		}
	case "text":
		return func(args []any) (string, bool) {
			// A text that PostgreSQL refuses would fail those of all others.
			text, ok := args[0].(string)
			return text, ok && utf8.ValidString(text) && !strings.Contains(text, "\x00")
		}
	}
	return nil
}

func idKey(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// read runs reads as one statement. Calls with the same key get the same row.
func (l *lane) read(calls []*call) error {
	byKey := make(map[string][][]byte, len(calls))
	keys := make(column, 0, len(calls))
	for _, c := range calls {
		if _, twice := byKey[c.key]; !twice {
			byKey[c.key] = nil
			keys = append(keys, c.args[0])
		}
	}
	a, err := l.send(calls, []any{keys})
	if err != nil {
		return err
	}
	by := slices.IndexFunc(a.fields, func(f pgconn.FieldDescription) bool { return f.Name == l.one.Batch.By })
	if by < 0 && len(a.rows) > 0 {
		return fmt.Errorf("%s: no column is named %s", l.many.Name, l.one.Batch.By)
	}
	for _, values := range a.rows {
		key := values[by]
		if id, ok := scanInt(&a.fields[by], key); ok {
			key = idKey(id)
		}
		byKey[string(key)] = values
	}
	for _, c := range calls {
		c.fields, c.values, c.where = a.fields, byKey[c.key], a.where
		c.settle(nil)
	}
	return nil
}

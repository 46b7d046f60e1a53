package postgres

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// calls by their keys, to be used again: a map of each batch would be garbage.
var callMaps = sync.Pool{New: func() any { return map[string]*call{} }}

// read runs reads as one statement. Calls with the same key get the same row.
func (l *lane) read(calls []*call) error {
	byKey := callMaps.Get().(map[string]*call)
	defer func() {
		clear(byKey)
		callMaps.Put(byKey)
	}()
	keys := make(column, 0, len(calls))
	for _, c := range calls {
		first := byKey[c.key]
		if c.next = first; first == nil {
			keys = append(keys, c.args[0])
		}
		byKey[c.key] = c
	}
	a, err := l.send(calls, []any{keys})
	if err != nil {
		return err
	}
	by := slices.IndexFunc(a.fields, func(f pgconn.FieldDescription) bool { return f.Name == l.one.Batch.By })
	if by < 0 && len(a.rows) > 0 {
		return fmt.Errorf("%s: no column is named %s", l.many.Name, l.one.Batch.By)
	}
	for _, row := range a.rows {
		key := row.column(by)
		if id, ok := scanInt(&a.fields[by], key); ok {
			key = idKey(id)
		}
		for c := byKey[string(key)]; c != nil; c = c.next {
			c.row = row
		}
	}
	a.rows = nil
	for _, c := range calls {
		c.answer = a
		c.settle(nil)
	}
	return nil
}

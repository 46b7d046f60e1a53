package postgres

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// reader runs reads as one statement.
type reader interface {
	// joins reports whether a call may share a statement with others.
	joins(args []any) bool

	// read settles the calls. Those with the same key get the same row.
	read(l *lane, calls []*call) error
}

// readerOf returns the reader for a statement's one parameter, which is the key
// that tells its rows apart. It is nil where the server may write equal values
// differently, or takes values for equal only by a collation.
func readerOf(s *Statement) reader {
	if len(s.Params) != 1 {
		return nil
	}
	switch s.Params[0].Type {
	case "bigint":
		return &readerBy[int64]{
			usable: func(int64) bool { return true },
			find: func(calls map[int64]*call, field *pgconn.FieldDescription, key []byte) *call {
				id, ok := scanInt(field, key)
				if !ok {
					return nil
				}
				return calls[id]
			},
		}
	case "text":
		return &readerBy[string]{
			// A text that PostgreSQL refuses would fail those of all others.
			usable: func(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") },
			find: func(calls map[string]*call, _ *pgconn.FieldDescription, key []byte) *call {
				return calls[string(key)]
			},
		}
	}
	return nil
}

// readerBy is the reader for keys of one type.
type readerBy[K comparable] struct {
	usable func(key K) bool

	// find finds the calls for a row by its key as the server writes it.
	find func(calls map[K]*call, field *pgconn.FieldDescription, key []byte) *call

	maps sync.Pool // of map[K]*call, to be used again: one for each batch would be garbage
}

func (r *readerBy[K]) joins(args []any) bool {
	key, ok := args[0].(K)
	return ok && r.usable(key)
}

func (r *readerBy[K]) read(l *lane, calls []*call) error {
	byKey, ok := r.maps.Get().(map[K]*call)
	if !ok {
		byKey = map[K]*call{}
	}
	defer func() {
		clear(byKey)
		r.maps.Put(byKey)
	}()
	keys := make([]K, 0, len(calls))
	for _, c := range calls {
		key := c.key.(K)
		first := byKey[key]
		if c.next = first; first == nil {
			keys = append(keys, key)
		}
		byKey[key] = c
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
		for c := r.find(byKey, &a.fields[by], row.column(by)); c != nil; c = c.next {
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

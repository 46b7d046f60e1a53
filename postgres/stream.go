package postgres

import (
	"context"
	"iter"
)

// Stream runs a :many statement and yields its rows as they arrive. If there is an error,
// it is yielded last, without a row. dests returns the destinations of a row's columns, as
// for rows.Scan, and Stream yields their values.
//
// The statement runs each time the sequence is ranged over, and holds its connection until
// the loop ends. If the loop is left early, the remaining rows are read and discarded,
// unless ctx ends first.
func Stream[R any](ctx context.Context, db DB, dests func(*R) []any, sql string, args ...any) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var row, none R
		rows, err := db.Query(ctx, sql, args...)
		if err != nil {
			yield(none, err)
			return
		}
		defer rows.Close()
		into := dests(&row)
		for rows.Next() {
			row = none
			if err := rows.Scan(into...); err != nil {
				yield(none, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, err)
		}
	}
}

package postgres

import (
	"context"
	"iter"
)

// Stream runs a :many statement and yields its rows as they arrive, and an
// error, if there is one, last and with no row. dests returns what the columns
// of a row are read into, as for rows.Scan, whose results these are.
//
// The statement runs with each range over what Stream returns, and holds its
// connection until the loop is done. A loop that is left early reads the rest of
// the rows and drops them, unless ctx ends first.
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

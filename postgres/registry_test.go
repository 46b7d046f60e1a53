package postgres

import "testing"

func TestWrites(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"-- name: A :exec\nINSERT INTO t VALUES (1)":       true,
		"-- name: A :exec\n\n-- why\n  update t set a = 1": true,
		"DELETE FROM t": true,
		"MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE":                 true,
		"-- name: A :many\nWITH g AS (SELECT 1)\nINSERT INTO t SELECT * FROM g": true,
		"WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d":                 true,
		"WITH c AS (SELECT id FROM t FOR UPDATE) SELECT * FROM c":               true,
		"SELECT 1": false,
		"-- INSERT INTO t\nSELECT updated_at FROM t":           false,
		"WITH g AS (SELECT updated_at FROM t) SELECT * FROM g": false,
		"": false,
	} {
		if writes(sql) != want {
			t.Errorf("%q: want %v", sql, want)
		}
	}
}

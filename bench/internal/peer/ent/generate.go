// Package ent is what ent generates from the schema folder for the two tables
// that the bench uses. It is not committed: `make bench`, `make bench-smoke` and
// `make lint` generate it first.
package ent

//go:generate go run entgo.io/ent/cmd/ent@v0.14.5 generate ./schema

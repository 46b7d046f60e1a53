// Package ent is what ent generates from the schema folder for the two tables
// that the bench uses. `go generate ./internal/peer/ent` writes it anew.
package ent

//go:generate go run entgo.io/ent/cmd/ent@v0.14.5 generate ./schema

// Package wire converts between the bytes of PostgreSQL's protocol and Go values. It
// handles the types that generated code usually has, with the same results as pgx but
// in less time, and leaves all others to pgx. It depends on pgx's types but not on the
// runtime.
//
//	Scan, Int   scan.go, read.go       one column's value into a Go value
//	Row         row.go                 a row that was copied from its connection
//	Register    register.go, array.go  how a connection decodes times and encodes arrays
package wire

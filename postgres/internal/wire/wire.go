// Package wire turns the bytes of PostgreSQL's protocol into Go values and back. It
// reads and writes the types that generated code mostly has, as pgx would but in less
// time, and leaves all others to pgx. It knows pgx's types, and nothing of the runtime.
//
//	Scan, Int   scan.go, read.go       one column's value into a Go value
//	Row         row.go                 a row that was copied off its connection
//	Register    register.go, array.go  how a connection reads times and writes arrays
package wire

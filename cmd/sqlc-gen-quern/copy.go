package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// emitCopies writes copy.go, which completes the sources of rows that sqlc declares for
// each :copyfrom. It returns nil if there is none.
func emitCopies(r *request, statements []*statement) ([]byte, error) {
	copies := slices.DeleteFunc(slices.Clone(statements), func(s *statement) bool { return s.kind != "copyfrom" })
	if len(copies) == 0 {
		return nil, nil
	}
	slices.SortFunc(copies, func(a, b *statement) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	r.golang.header(&b)
	for _, s := range copies {
		emitCopy(&b, s, r.methodOf(s))
	}
	return formatted("copy.go", b.Bytes())
}

func emitCopy(b *bytes.Buffer, s *statement, m method) {
	pointers := []string{"&r.rows[0]"}
	if m.paramsStruct != "" {
		pointers = nil
		for _, f := range m.params {
			pointers = append(pointers, "&r.rows[0]."+f.name)
		}
	}
	fmt.Fprintf(b, `
// Pointers appends pointers to the values of the current row. The runtime encodes them
// faster than pgx encodes those of Values.
func (r *iteratorFor%s) Pointers(to []interface{}) []interface{} {
	return append(to,
%s,
	)
}
`, s.Name, strings.Join(pointers, ",\n"))
}

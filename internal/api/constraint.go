package api

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// detailOf returns a detail that names the violated constraint, if the row of the table is
// not for a specific one. It returns "" if the server named none.
func detailOf(c code, e *postgres.Error) string {
	if e == nil {
		return ""
	}
	switch e.Kind {
	case postgres.ErrUnique, postgres.ErrExclusion, postgres.ErrForeignKey, postgres.ErrCheck:
	default:
		return ""
	}
	of := ""
	if e.Table != "" {
		of = fmt.Sprintf(" of table %q", e.Table)
	}
	switch {
	case e.Constraint == "" && e.Column == "":
		return ""
	case e.Constraint == "": // a not-null constraint has a name since version 18
		return fmt.Sprintf("Column %q%s must not be null.", e.Column, of)
	case c == codeInvalid:
		return fmt.Sprintf("The request violates the constraint %q%s.", e.Constraint, of)
	}
	return fmt.Sprintf("%s The constraint is %q%s.", codes[c].detail, e.Constraint, of)
}

// target matches the table that a statement writes. Each clause has its own line, so FOR
// UPDATE is never at the start of one.
var target = regexp.MustCompile(`(?im)^\s*(INSERT INTO|UPDATE|DELETE FROM)\s+"?(\w+)`)

// referenced reports whether a foreign key violation means that the row is still
// referenced, and not that it refers to a missing row. PostgreSQL has one SQLSTATE for
// both, and names the referencing table in both. Only a DELETE, and an UPDATE of another
// table than that one, can leave a reference without its row.
func referenced(err error) bool {
	var e *postgres.Error
	if !errors.As(err, &e) || e.Kind != postgres.ErrForeignKey {
		return false
	}
	for _, s := range db.Statements {
		if s.Name != e.Statement {
			continue
		}
		writes := target.FindStringSubmatch(s.SQL)
		if writes == nil {
			return false
		}
		act := strings.ToUpper(writes[1])
		return act == "DELETE FROM" || act == "UPDATE" && writes[2] != e.Table
	}
	return false
}

// lookupItems is lookup for an operation on many items. It returns the problem of the first
// failed item, with the location of each failed item.
func lookupItems(err error) *Problem {
	var faults store.ItemFaults
	if !errors.As(err, &faults) {
		return lookup(err)
	}
	var p *Problem
	for _, fault := range faults {
		item := lookup(fault.Err)
		if item == nil {
			continue
		}
		at := FieldError{Location: "body", Message: item.Detail}
		if fault.Of != "" {
			at.Location += "." + fault.Of
		}
		at.Location += "[" + strconv.Itoa(fault.Index) + "]"
		if len(item.Errors) > 0 {
			if name, ok := strings.CutPrefix(item.Errors[0].Location, "body"); ok {
				at.Location += name
			}
		}
		if p == nil {
			p = item
			p.Errors = nil
		}
		p.Errors = append(p.Errors, at)
	}
	return p
}

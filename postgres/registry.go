package postgres

import (
	"cmp"
	"regexp"
	"strings"
	"sync"
	"time"
)

// registry finds a statement's policy by its text. The generated code always passes the
// same string, so the lookup does not parse anything.
type registry struct {
	known   map[string]*statement
	unknown sync.Map // text → *statement, for statements that no SQL file declares
	timeout time.Duration
}

// statement is a Statement with its defaults, and with the coalescer of its calls.
type statement struct {
	Statement
	writes    bool       // its text shows that it writes
	coalescer *coalescer // nil if its calls are not coalesced
}

func newRegistry(statements []Statement, timeout time.Duration) *registry {
	r := &registry{known: make(map[string]*statement, len(statements)), timeout: timeout}
	for _, declared := range statements {
		s := &statement{Statement: declared, writes: writes(declared.SQL)}
		if s.Timeout == 0 {
			s.Timeout = timeout
		}
		s.Class = cmp.Or(s.Class, DefaultClass)
		s.Reads = s.Reads || s.Route == Replica || readsOnly(s.SQL)
		r.known[s.SQL] = s
	}
	return r
}

// find returns the statement with the given text. If no SQL file declares it, it has the
// default policy and the name in its first line, if there is one.
func (r *registry) find(sql string) *statement {
	if s, ok := r.known[sql]; ok {
		return s
	}
	if s, ok := r.unknown.Load(sql); ok {
		return s.(*statement)
	}
	s, _ := r.unknown.LoadOrStore(sql, &statement{writes: writes(sql), Statement: Statement{
		Name: nameOf(sql), SQL: sql, Route: Primary, Class: DefaultClass, Timeout: r.timeout, Reads: readsOnly(sql),
	}})
	return s.(*statement)
}

// named returns the declared statement with the given name, or nil.
func (r *registry) named(name string) *statement {
	for _, s := range r.known {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// nameOf returns the name that sqlc wrote in the first line of a statement ("-- name:
// GetUser :one"), or the statement's first word.
func nameOf(sql string) string {
	if rest, ok := strings.CutPrefix(sql, "-- name: "); ok {
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	return strings.ToLower(word)
}

var writing = regexp.MustCompile(`(?i)^(\s|--[^\n]*\n)*(INSERT|UPDATE|DELETE|MERGE|WITH\b(?s:.*)\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO))\b`)

// writes reports whether the text of a statement shows that it writes. A function that it
// calls may write, too.
func writes(sql string) bool { return writing.MatchString(sql) }

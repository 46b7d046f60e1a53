package console

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"quern/postgres"
)

// Statement is a statement of the registry, or another one that ran, with its counters since
// the start. Rows are those returned or affected.
type Statement struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	File   string `json:"file"` // below queries/; empty for a statement of no file
	Doc    string `json:"doc"`
	Policy Policy `json:"policy"`

	Calls        uint64  `json:"calls"`
	Errors       uint64  `json:"errors"`
	Rows         uint64  `json:"rows"`
	TotalSeconds float64 `json:"total_seconds"` // of all calls together
	MeanMS       float64 `json:"mean_ms"`
	Quantiles
	ReplicaCalls   uint64            `json:"replica_calls"`
	Retries        uint64            `json:"retries"`
	CoalescedCalls uint64            `json:"coalesced_calls"` // calls that shared a statement
	Batches        uint64            `json:"batches"`         // the statements that they shared
	Fallbacks      map[string]uint64 `json:"fallbacks"`       // reads of a replica that ran on the primary, by reason
	ErrorClasses   map[string]uint64 `json:"error_classes"`

	Contract Contract `json:"contract"`
}

// Policy is what the SQL file of a statement declares.
type Policy struct {
	Route   string `json:"route"`
	Timeout string `json:"timeout"` // empty for QUERY_TIMEOUT
	Retry   bool   `json:"retry"`
	Plan    string `json:"plan"`
	Batch   string `json:"batch"`
	Class   string `json:"class"`
	Stream  bool   `json:"stream"`
	Queue   bool   `json:"queue"`
	Reads   bool   `json:"reads"`
	Derived string `json:"derived_from"`
}

// StatementDetail adds the text and the histogram.
type StatementDetail struct {
	Statement
	SQL     string      `json:"sql"`
	Params  []NameType  `json:"params"`
	Columns []NameType  `json:"columns"`
	Buckets []Bucket    `json:"buckets"`
	Timeout string      `json:"effective_timeout"`
	Derived []Statement `json:"derived"` // the statements that the plugin derived from it
}

// NameType is a parameter or a column.
type NameType struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// statements returns the statements of the registry, and the others that ran.
func (c *Console) statements(router *postgres.Router) []*postgres.Statement {
	var list []*postgres.Statement
	seen := map[string]bool{}
	declared := router.Config().Statements
	for i := range declared {
		list = append(list, &declared[i])
		seen[declared[i].Name] = true
	}
	for _, ran := range c.Observer.list() {
		if s := ran.statement; !seen[s.Name] {
			list = append(list, s)
			seen[s.Name] = true
		}
	}
	return list
}

// statement returns a statement with its counters.
func (c *Console) statement(s *postgres.Statement) (Statement, *counts) {
	v := Statement{
		Name: s.Name, Kind: string(s.Kind), File: s.File, Doc: s.Doc,
		Policy: Policy{
			Route: cmp.Or(string(s.Route), string(postgres.Primary)), Retry: s.Retry, Plan: s.Plan, Batch: s.Batch,
			Class: cmp.Or(s.Class, postgres.DefaultClass), Stream: s.Stream, Queue: s.Queue, Reads: s.Reads, Derived: s.DerivedFrom,
		},
		Fallbacks: map[string]uint64{}, ErrorClasses: map[string]uint64{}, Contract: c.plans.contract(s),
	}
	if s.Timeout > 0 {
		v.Policy.Timeout = s.Timeout.String()
	}
	calls := &counts{}
	c.Observer.mu.Lock()
	n := c.Observer.byName[s.Name]
	c.Observer.mu.Unlock()
	if n == nil {
		return v, calls
	}
	n.durations.addTo(calls)
	v.Calls, v.Errors, v.Rows, v.ReplicaCalls = calls.total(), n.failed.Load(), n.rows.Load(), n.replica.Load()
	v.Retries, v.CoalescedCalls, v.Batches = n.retries.Load(), n.coalesced.Load(), n.batches.Load()
	v.TotalSeconds = time.Duration(n.nanos.Load()).Seconds()
	if v.Calls > 0 {
		v.MeanMS = v.TotalSeconds * 1000 / float64(v.Calls)
	}
	v.Quantiles = calls.quantiles()
	n.mu.Lock()
	defer n.mu.Unlock()
	v.Fallbacks, v.ErrorClasses = maps.Clone(n.fallbacks), maps.Clone(n.errors)
	return v, calls
}

// StatementList is the registry, sorted by name.
type StatementList struct {
	Since      time.Time   `json:"since"` // when counting began
	Checked    *time.Time  `json:"plans_checked"`
	Problem    string      `json:"plans_problem"` // why the contracts could not be checked
	Statements []Statement `json:"statements"`
}

func (c *Console) getStatements(w http.ResponseWriter, _ *http.Request, router *postgres.Router) {
	c.plans.refresh(c, router)
	v := StatementList{Since: c.start.UTC(), Statements: []Statement{}}
	v.Checked, v.Problem = c.plans.state()
	for _, s := range c.statements(router) {
		one, _ := c.statement(s)
		v.Statements = append(v.Statements, one)
	}
	slices.SortFunc(v.Statements, func(a, b Statement) int { return cmp.Compare(a.Name, b.Name) })
	writeJSON(w, v)
}

// find returns the statement that a request names, or nil.
func (c *Console) find(router *postgres.Router, r *http.Request) *postgres.Statement {
	for _, s := range c.statements(router) {
		if s.Name == r.PathValue("name") {
			return s
		}
	}
	return nil
}

var noStatement = &Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "No statement has this name."}

func (c *Console) getStatement(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	s := c.find(router, r)
	if s == nil {
		noStatement.write(w)
		return
	}
	one, calls := c.statement(s)
	v := StatementDetail{
		Statement: one, SQL: s.SQL, Params: []NameType{}, Columns: []NameType{}, Buckets: calls.bars(),
		Timeout: cmp.Or(s.Timeout, router.Config().QueryTimeout).String(), Derived: []Statement{},
	}
	for _, p := range s.Params {
		v.Params = append(v.Params, NameType(p))
	}
	for _, col := range s.Columns {
		v.Columns = append(v.Columns, NameType{col.Name, col.Type})
	}
	for _, other := range c.statements(router) {
		if other.DerivedFrom == s.Name {
			derived, _ := c.statement(other)
			v.Derived = append(v.Derived, derived)
		}
	}
	writeJSON(w, v)
}

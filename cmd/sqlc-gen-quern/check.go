package main

import (
	"fmt"
	"slices"
	"strings"
)

// check reports each directive that contradicts its statement, or the statement
// that it names.
func check(statements []*statement) []problem {
	byName := map[string]*statement{}
	for _, s := range statements {
		byName[s.Name] = s
	}
	var problems []problem
	for _, s := range statements {
		problems = append(problems, checkText(s)...)
		problems = append(problems, checkLost(s)...)
		problems = append(problems, checkPolicy(s)...)
		problems = append(problems, checkBatch(s, byName)...)
	}
	return problems
}

// checkText checks that the kind and the form of the statement are supported.
func checkText(s *statement) []problem {
	var problems []problem
	if _, ok := kinds[s.kind]; !ok {
		hint := hints[s.kind]
		if hint == "" {
			hint = "use :one, :many, :exec, :execrows or :copyfrom"
		}
		problems = append(problems, s.problemf(":%s is not supported: %s", s.kind, hint))
	}
	for _, p := range s.Params {
		if p.Column.IsSqlcSlice {
			// It compiles with pgx but always fails at run time.
			problems = append(problems, s.problemf("sqlc.slice does not work with pgx: write = ANY(@%s::%s[])", p.name(), p.Column.element()))
		}
	}
	return problems
}

// checkPolicy checks each directive against its own statement.
func checkPolicy(s *statement) []problem {
	var problems []problem
	p := s.policy
	if s.kind == "copyfrom" {
		if p.route == "replica" {
			problems = append(problems, s.problemf("@route replica on a :copyfrom, which writes: remove it"))
		}
		if p.retry {
			problems = append(problems, s.problemf("@retry on a :copyfrom, which reads its rows once and cannot repeat them: remove it"))
		}
		if p.plan != "" {
			problems = append(problems, s.problemf("@plan on a :copyfrom, which has no plan: remove it"))
		}
	} else if p.route == "replica" && len(s.writes) > 0 {
		problems = append(problems, s.problemf("@route replica on a statement with %s, which only the primary can run: remove @route replica", s.writes[0]))
	} else if name := writerCalled(s); p.route == "replica" && name != "" {
		problems = append(problems, s.problemf("@route replica on a statement with %s(), whose effects outlast the statement: remove @route replica", name))
	}
	if p.stream && s.kind != "many" {
		problems = append(problems, s.problemf("@stream on a :%s: only a :many can be streamed: remove it", s.kind))
	}
	if p.queue && s.kind == "copyfrom" {
		problems = append(problems, s.problemf("@queue on a :copyfrom: a COPY cannot be sent together with other statements: remove it"))
	}
	return problems
}

func names(statements map[string]*statement) []string {
	var all []string
	for name := range statements {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// list formats columns for a problem.
func list(columns []column) string {
	var all []string
	for _, c := range columns {
		all = append(all, c.describe())
	}
	return fmt.Sprintf("(%s)", strings.Join(all, ", "))
}

package main

import (
	_ "embed"
	"strings"
)

// functionList has the names of the functions of pg_catalog of which every
// overload is STABLE or IMMUTABLE, in every one of PostgreSQL 15 to 18 that has
// the name. It is the answer of both servers to
//
//	SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
//	GROUP BY proname HAVING bool_and(provolatile <> 'v' AND prokind <> 'p');
//
//go:embed functions.txt
var functionList string

var stableFunctions = setOf(strings.Fields(functionList)...)

// constructs are the words that PostgreSQL's grammar puts before a parenthesis
// without calling a function of that name: clauses, operators, expressions with a
// syntax of their own and types with a modifier. Words that are also free to be
// the name of a function are in constructsAfter.
var constructs = setOf(
	"all", "and", "any", "array", "as", "between", "case", "cast", "coalesce", "current_time",
	"current_timestamp", "distinct", "else", "except", "exists", "extract", "from", "greatest", "group", "grouping", "having",
	"ilike", "in", "intersect", "join", "lateral", "least", "like", "limit", "localtime", "localtimestamp", "not",
	"nullif", "offset", "on", "only", "or", "overlay", "position", "row", "select", "some", "substring", "symmetric", "then", "to",
	"trim", "union", "using", "values", "variadic", "when", "where", "xmlconcat", "xmlelement", "xmlexists", "xmlforest",
	"xmlparse", "xmlpi", "xmlroot", "xmlserialize", "normalize", "both", "leading", "trailing", "placing", "for", "fetch",
	"bit", "char", "character", "dec", "decimal", "float", "interval", "nchar", "numeric", "time", "timestamp",
	"varchar",
)

// constructsAfter are constructs only after one of the words given.
var constructsAfter = map[string][]string{
	"by":           {"group", "order", "partition"},
	"varying":      {"character", "char", "nchar", "bit"},
	"filter":       {")"},
	"over":         {")"},
	"sets":         {"grouping"},
	"rollup":       {"by", ","},
	"cube":         {"by", ","},
	"zone":         {"time"},
	"first":        {"fetch"},
	"next":         {"fetch"},
	"materialized": {"as", "not"},
}

func setOf(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

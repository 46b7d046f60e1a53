package pgproc

import "slices"

// constructs are the words that PostgreSQL's grammar puts before a parenthesis
// without calling a function: clauses, operators, expressions with special
// syntax, and types with a modifier. Words that may also be the name of a
// function are in constructsAfter.
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

// constructsAfter are constructs only after one of the given words.
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

// IsConstruct reports whether a word before a parenthesis belongs to PostgreSQL's
// grammar and is not the name of a function. For some words this depends on the
// preceding word or symbol.
func IsConstruct(word, before string) bool {
	return constructs[word] || slices.Contains(constructsAfter[word], before)
}

func setOf(words ...string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// policy holds the directives of one statement. The zero value of each field is
// the directive's default.
type policy struct {
	route   string // "primary" or "replica"
	timeout time.Duration
	retry   bool
	plan    string // "indexed" or "uses NAME"
	batch   batch
	class   string // empty without the directive, which means the class default
	stream  bool
	queue   bool
}

// batch says how several calls of a :one become one statement: either one derived from it, or
// the :many with the given name.
type batch struct {
	derived bool
	name    string
}

// directives is the grammar. Each function parses the arguments of one
// directive. If they do not fit, it returns how to write the directive.
var directives = map[string]func(p *policy, args []string) (usage string){
	"@route": func(p *policy, args []string) string {
		if len(args) != 1 || args[0] != "primary" && args[0] != "replica" {
			return "@route primary or @route replica"
		}
		p.route = args[0]
		return ""
	},
	"@timeout": func(p *policy, args []string) string {
		const usage = "@timeout and a positive Go duration, such as 250ms, 2s or 1m30s"
		if len(args) != 1 {
			return usage
		}
		d, err := time.ParseDuration(args[0])
		if err != nil || d <= 0 {
			return usage
		}
		p.timeout = d
		return ""
	},
	"@retry": func(p *policy, args []string) string {
		if len(args) != 0 {
			return "@retry, alone"
		}
		p.retry = true
		return ""
	},
	"@plan": func(p *policy, args []string) string {
		switch {
		case len(args) == 1 && args[0] == "indexed":
		case len(args) > 1 && args[0] == "uses" && indexName.MatchString(strings.Join(args[1:], " ")):
		default:
			return "@plan indexed or @plan uses NAME, with the name of an index"
		}
		p.plan = strings.Join(args, " ")
		return ""
	},
	"@batch": func(p *policy, args []string) string {
		switch {
		case len(args) == 0:
			p.batch = batch{derived: true}
		case len(args) == 1:
			p.batch = batch{name: args[0]}
		case len(args) == 3 && args[1] == "by":
			return fmt.Sprintf("@batch without arguments, because the statement for several calls is derived from this one (%s and %s are not needed)", args[0], args[2])
		default:
			return "@batch for a read, an UPDATE or a DELETE, or @batch NAME for an insert"
		}
		return ""
	},
	"@class": func(p *policy, args []string) string {
		if len(args) != 1 || !className.MatchString(args[0]) {
			return "@class NAME, in lower-case letters, digits and _, such as @class bulk"
		}
		p.class = args[0]
		return ""
	},
	"@stream": func(p *policy, args []string) string {
		if len(args) != 0 {
			return "@stream, alone"
		}
		p.stream = true
		return ""
	},
	"@queue": func(p *policy, args []string) string {
		if len(args) != 0 {
			return "@queue, alone"
		}
		p.queue = true
		return ""
	},
}

// indexName matches the name of an index as written in SQL: with or without its
// schema, each part quoted or not.
var indexName = regexp.MustCompile(`^("[^"]+"|[^\s".]+)(\.("[^"]+"|[^\s".]+))?$`)

// className matches the name of a class. It is also a key of the setting
// POOL_CLASSES and a label of metrics, so it must not contain their separators.
var className = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// sqlcDirectives are sqlc's own. The plugin neither checks them nor copies them
// to the documentation.
var sqlcDirectives = []string{"@param", "@sqlc-vet-disable"}

// parseComments splits a query's comment lines into documentation and policy,
// and returns the mistakes in its directives.
func parseComments(comments []string) (doc string, p policy, wrong []string) {
	var lines []string
	seen := map[string]bool{}
	for _, line := range comments {
		name, args, ok := directive(line)
		if !ok {
			lines = append(lines, strings.TrimRight(strings.TrimPrefix(line, " "), " \t"))
			continue
		}
		if slices.Contains(sqlcDirectives, name) {
			continue
		}
		parse, known := directives[name]
		switch {
		case !known:
			names := slices.Sorted(maps.Keys(directives))
			wrong = append(wrong, fmt.Sprintf("unknown directive %s%s: use one of %s",
				name, didYouMean(name, names), strings.Join(names, ", ")))
		case seen[name]:
			wrong = append(wrong, fmt.Sprintf("%s is given twice: keep one", name))
		default:
			if usage := parse(&p, args); usage != "" {
				wrong = append(wrong, fmt.Sprintf("%q does not parse: write %s", strings.TrimSpace(line), usage))
			}
		}
		seen[name] = true
	}
	return paragraphs(lines), p, wrong
}

// directive splits a comment line into name and arguments if its first word
// starts with "@".
func directive(line string) (name string, args []string, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 || !strings.HasPrefix(words[0], "@") {
		return "", nil, false
	}
	return words[0], words[1:], true
}

// paragraphs joins lines. It removes empty lines that the directives leave: those at both ends,
// and all but one of several in a row.
func paragraphs(lines []string) string {
	blank := func(a, b string) bool { return a == "" && b == "" }
	return strings.Trim(strings.Join(slices.CompactFunc(lines, blank), "\n"), "\n")
}

// didYouMean suggests the candidate nearest to the given word, if one is near
// enough.
func didYouMean(written string, candidates []string) string {
	nearest, least := "", 3 // with more than two typing errors, a suggestion would only be a guess
	for _, c := range candidates {
		if d := distance(strings.ToLower(written), strings.ToLower(c)); d < least {
			nearest, least = c, d
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", nearest)
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

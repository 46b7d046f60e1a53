package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// goName returns the Go name that sqlc derives from a database name.
func (r *request) goName(name string) string {
	if renamed := r.golang.rename[name]; renamed != "" {
		return renamed
	}
	var b strings.Builder
	for _, w := range strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		if slices.Contains(r.golang.initialisms, w) {
			b.WriteString(strings.ToUpper(w))
		} else {
			b.WriteString(upperFirst(w))
		}
	}
	if out := b.String(); out == "" || !unicode.IsDigit([]rune(out)[0]) {
		return out
	}
	return "_" + b.String()
}

func upperFirst(word string) string {
	runes := []rune(word)
	if len(runes) > 0 {
		runes[0] = unicode.ToTitle(runes[0])
	}
	return string(runes)
}

// lowerFirst returns the name of a query's constant as sqlc derives it: getUser from
// GetUser, and uRLs from URLs.
func lowerFirst(name string) string {
	runes := []rune(name)
	runes[0] = unicode.ToLower(runes[0])
	return string(runes)
}

// constant returns the name of the constant with a query's text.
func (r *request) constant(s *statement) string {
	if r.golang.exportedQueries {
		return upperFirst(s.Name)
	}
	return lowerFirst(s.Name)
}

// model is a table and the struct that sqlc generates for it.
type model struct {
	goName string
	schema string
	table  table
}

// models returns the models of all tables, sorted by name. sqlc searches them in this
// order.
func (r *request) models() (all []model) {
	for _, s := range r.ownSchemas() {
		for _, t := range s.Tables {
			name := r.inSchema(s.Name, t.Rel.Name)
			if !r.golang.exactTableNames && !slices.ContainsFunc(r.golang.notSingular, func(not string) bool { return strings.EqualFold(not, name) }) {
				name = singular(name)
			}
			name = r.goName(name)
			if given := r.options.Models[t.Rel.Name]; given != "" {
				name = given
			}
			all = append(all, model{name, s.Name, t})
		}
	}
	slices.SortStableFunc(all, func(a, b model) int { return strings.Compare(a.goName, b.goName) })
	return all
}

// modelOf returns the struct of the table that has exactly these columns in this order,
// or "".
func (r *request) modelOf(columns []column) string {
	for _, m := range r.models() {
		same := slices.EqualFunc(m.table.Columns, columns, func(of, c column) bool {
			return c.Table != nil && c.Table.Name == m.table.Rel.Name && r.schemaOf(*c.Table) == m.schema &&
				r.goName(columnName(c, 0)) == r.goName(of.Name) && r.goType(c).name == r.goType(of).name
		})
		if same {
			return m.goName
		}
	}
	return ""
}

func columnName(c column, i int) string {
	if c.Name == "" {
		return fmt.Sprintf("column_%d", i+1)
	}
	return c.Name
}

// field is a field of a struct, or a parameter of a method.
type field struct {
	name string
	goType
}

// fields returns the fields of the struct that sqlc generates for columns or parameters.
// The second of two columns with the same name gets a number.
func (r *request) fields(columns []column) []field {
	fields := make([]field, len(columns))
	seen := map[string]int{}
	for i, c := range columns {
		name := r.goName(columnName(c, i))
		seen[name]++
		fields[i] = field{name, r.goType(c)}
		if n := seen[name]; n > 1 && !c.IsNamedParam {
			fields[i].name = fmt.Sprintf("%s_%d", name, n)
		}
	}
	return fields
}

// singularRule replaces a matching ending of a name.
type singularRule struct {
	ending *regexp.Regexp
	stays  string
}

// singularRules are those of sqlc's inflection (jinzhu/inflection 1.0.0). The first
// matching rule applies.
var singularRules = func() (rules []singularRule) {
	add := func(ending, stays string) { rules = append(rules, singularRule{regexp.MustCompile(ending), stays}) }
	add("^(?i)(equipment|information|rice|money|species|series|fish|sheep|jeans|police)$", "$1")
	for plural, one := range map[string]string{"people": "person", "men": "man", "children": "child", "sexes": "sex", "moves": "move", "mombies": "mombie"} {
		add(strings.ToUpper(plural)+"$", strings.ToUpper(one))
		add(upperFirst(plural)+"$", upperFirst(one))
		add(plural+"$", one)
	}
	for _, rule := range [][2]string{
		{"(database)s$", "${1}"},
		{"(quiz)zes$", "${1}"},
		{"(matr)ices$", "${1}ix"},
		{"(vert|ind)ices$", "${1}ex"},
		{"^(ox)en", "${1}"},
		{"(alias|status)(es)?$", "${1}"},
		{"(octop|vir)(us|i)$", "${1}us"},
		{"^(a)x[ie]s$", "${1}xis"},
		{"(cris|test)(is|es)$", "${1}is"},
		{"(shoe)s$", "${1}"},
		{"(o)es$", "${1}"},
		{"(bus)(es)?$", "${1}"},
		{"^(m|l)ice$", "${1}ouse"},
		{"(x|ch|ss|sh)es$", "${1}"},
		{"(c)ookies$", "${1}ookie"},
		{"(m)ovies$", "${1}ovie"},
		{"(s)eries$", "${1}eries"},
		{"([^aeiouy]|qu)ies$", "${1}y"},
		{"([lr])ves$", "${1}f"},
		{"(tive)s$", "${1}"},
		{"(hive)s$", "${1}"},
		{"([^f])ves$", "${1}fe"},
		{"(^analy)(sis|ses)$", "${1}sis"},
		{"((a)naly|(b)a|(d)iagno|(p)arenthe|(p)rogno|(s)ynop|(t)he)(sis|ses)$", "${1}sis"},
		{"([ti])a$", "${1}um"},
		{"(n)ews$", "${1}ews"},
		{"(ss)$", "${1}"},
		{"s$", ""},
	} {
		add(strings.ToUpper(rule[0]), strings.ToUpper(rule[1]))
		add(rule[0], rule[1])
		add("(?i)"+rule[0], rule[1])
	}
	return rules
}()

// exceptions are the table names that sqlc looks up before it applies its rules.
var exceptions = map[string]string{"campus": "campus", "meta": "meta", "calories": "calorie", "waves": "wave", "metadata": "metadata"}

// singular returns the name that sqlc gives to the struct of a table.
func singular(name string) string {
	if known, ok := exceptions[strings.ToLower(name)]; ok {
		if strings.ToLower(name) == known {
			return name
		}
		return known
	}
	for _, rule := range singularRules {
		if rule.ending.MatchString(name) {
			return rule.ending.ReplaceAllString(name, rule.stays)
		}
	}
	return name
}

package scaffold

import (
	"fmt"
	"go/token"
	"regexp"
	"strings"
	"unicode"

	"github.com/jinzhu/inflection"
)

// noun is the name of one row of a table, in the forms in which code needs it.
type noun struct {
	file   string // order_item: for files
	one    string // OrderItem: for the type, and in the names of statements
	many   string // OrderItems
	lower  string // orderItem: for variables and functions
	lowers string // orderItems
	words  string // order item: for prose
	plural string // order items
	path   string // order-items: in URLs
}

// Names are the names of a noun for the files of a project.
type Names struct {
	Table string // order_items
	Many  string // OrderItems
	Path  string // order-items
	Title string // Order items
}

// NamesOf returns the names of a noun, or why it cannot be one.
func NamesOf(name string) (Names, error) {
	n, err := newNoun(name)
	if err != nil {
		return Names{}, err
	}
	if one := nounOf(n.file); one != n.file {
		return Names{}, fmt.Errorf("noun %q: is not in the singular: use %s", name, one)
	}
	table := strings.ReplaceAll(n.path, "-", "_")
	return Names{Table: table, Many: n.many, Path: n.path, Title: strings.ToUpper(n.plural[:1]) + n.plural[1:]}, nil
}

// nounName matches the allowed spellings of a noun: order_item, order-item or OrderItem.
var nounName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*$`)

// Words that package inflection gets wrong.
func init() {
	for one, many := range map[string]string{
		"alias": "aliases", "base": "bases", "bonus": "bonuses", "cache": "caches", "campus": "campuses", "canvas": "canvases", "gas": "gases",
		"hero": "heroes", "human": "humans", "leaf": "leaves", "lens": "lenses", "virus": "viruses", "database": "databases",
	} {
		inflection.AddIrregular(one, many)
	}
}

// newNoun returns the forms of a noun in the singular.
func newNoun(name string) (noun, error) {
	if !nounName.MatchString(name) {
		return noun{}, fmt.Errorf("noun %q: not a name: use letters and digits, such as order or order_item", name)
	}
	words := splitWords(name)
	last := len(words) - 1
	plurals := append(append([]string{}, words[:last]...), inflection.Plural(words[last]))
	n := noun{
		file: strings.Join(words, "_"), one: camel(words), many: camel(plurals),
		words: strings.Join(words, " "), plural: strings.Join(plurals, " "), path: strings.Join(plurals, "-"),
	}
	n.lower, n.lowers = lowerFirst(n.one), lowerFirst(n.many)
	if n.lower == n.lowers {
		n.many, n.lowers = n.many+"List", n.lowers+"List" // news
	}
	if token.IsKeyword(n.lower) || token.IsKeyword(n.lowers) || goTaken[n.lower] || goTaken[n.lowers] {
		return noun{}, fmt.Errorf("noun %q: a word of Go that its code needs: use two words, such as %s_item", name, n.file)
	}
	if reserved[strings.Join(plurals, "_")] {
		return noun{}, fmt.Errorf("noun %q: its plural is a keyword of SQL: use two words, such as %s_item", name, n.file)
	}
	return n, nil
}

// goTaken are words that are not Go keywords but that the generated code uses.
var goTaken = map[string]bool{
	"string": true, "error": true, "bool": true, "int": true, "any": true, "nil": true, "true": true, "false": true, "len": true,
	"new": true, "make": true, "append": true, "list": true, "context": true, "http": true, "huma": true, "db": true,
	"postgres": true, "json": true, "time": true, "iter": true, "errors": true, "s": true, "q": true, "in": true, "t": true, "c": true,
	"server": true, "noun": true, "page": true, "strict": true, "register": true, "main": true, "init": true, "type": true,
	"int32": true, "int64": true, "byte": true, "rune": true, "close": true, "min": true, "max": true, "copy": true, "cap": true,
	"found": true, "created": true, "patched": true, "deleted": true, "code": true, "write": true, "written": true, "uuid": true,
}

// nounOf guesses the noun of a table: its last word in the singular.
func nounOf(table string) string {
	words := splitWords(table)
	if len(words) == 0 {
		return table
	}
	words[len(words)-1] = inflection.Singular(words[len(words)-1])
	return strings.Join(words, "_")
}

// splitWords splits snake_case, kebab-case and CamelCase into lower-case words.
func splitWords(name string) []string {
	var words []string
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		runes := []rune(part)
		start := 0
		for i := 1; i < len(runes); i++ {
			if unicode.IsUpper(runes[i]) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
				words = append(words, strings.ToLower(string(runes[start:i])))
				start = i
			}
		}
		words = append(words, strings.ToLower(string(runes[start:])))
	}
	return words
}

// camel joins words as in Go names, with the initialism that sqlc knows.
func camel(words []string) string {
	var b strings.Builder
	for _, w := range words {
		if w == "id" {
			b.WriteString("ID")
			continue
		}
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

func lowerFirst(name string) string {
	if strings.HasPrefix(name, "ID") {
		return "id" + name[2:]
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// argument returns the name of a statement's parameter for a column.
func argument(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r == '_' || r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '_'
	}, name)
	if plain == "" || unicode.IsDigit(rune(plain[0])) {
		plain = "c_" + plain
	}
	return plain
}

// param formats a parameter that is not NULL in a statement.
func param(name string) string {
	name = argument(name)
	if reserved[name] || strings.ToLower(name) != name {
		return "sqlc.arg('" + name + "')"
	}
	return "@" + name
}

// reserved are the keywords of PostgreSQL that need quotes as the name of a column or a
// table (manual, appendix C), of versions 15 to 18.
var reserved = func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(`all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean
		both case cast char character check coalesce collate collation column concurrently constraint create cross current_catalog
		current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc
		distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having
		ilike in initially inner inout int integer intersect interval into is isnull join json json_array json_arrayagg json_exists
		json_object json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading least left like limit
		localtime localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset on only or
		order out outer overlaps overlay placing position precision primary real references returning right row select session_user
		setof similar smallint some substring symmetric system_user table tablesample then time timestamp to trailing treat trim true
		union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists
		xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable`) {
		words[word] = true
	}
	return words
}()

package rehearse

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The rules. A comment above a statement exempts it from one of them, with a reason:
//
//	-- quern:allow rewrite: the table has 12 rows
const (
	RuleLock    = "lock"    // ACCESS EXCLUSIVE on a large table for too long
	RuleRewrite = "rewrite" // a large table is rewritten
	RuleIndex   = "index"   // an index is built while writes to its large table wait
	RuleScan    = "scan"    // a whole large table is read while writes to it wait
	RuleDown    = "down"    // Down does not restore the schema
)

// Rules are the names of all rules.
var Rules = []string{RuleLock, RuleRewrite, RuleIndex, RuleScan, RuleDown}

// Policy holds the limits.
type Policy struct {
	// Large is the number of rows from which a table counts as large.
	Large int64

	// MaxLock is how long a statement may hold ACCESS EXCLUSIVE on a large table.
	MaxLock time.Duration
}

// Finding is a statement that breaks a rule.
type Finding struct {
	Rule string
	Text string // the problem, and the safe form

	Reason string // the reason of the exemption, if there is one
}

// Size is how many rows a table has.
type Size struct {
	Real   int64 // in production
	Filled int64 // how many of them the scratch database has
}

// Table is a table with its size.
type sizes map[string]Size

func (s sizes) large(table string, p Policy) bool {
	return s[table].Real >= p.Large && s[table].Real > 0
}

// blocksWrites reports whether a lock in that mode makes writes of other sessions wait.
func blocksWrites(mode string) bool { return Stronger(mode, "SHARE UPDATE EXCLUSIVE") }

// judge returns the rules that a statement breaks.
func (p Policy) judge(m Measured, s sizes) (list []Finding) {
	add := func(rule, text string) {
		list = append(list, Finding{Rule: rule, Text: text, Reason: m.Statement.Allow[rule]})
	}
	said := map[string]bool{}
	for _, table := range m.Rewritten {
		if s.large(table, p) {
			said[table] = true
			add(RuleRewrite, fmt.Sprintf("rewrites %s under %s: %s", s.named(table), m.Locks[table], rewriteHint(m.Statement.SQL)))
		}
	}
	for _, index := range slices.Sorted(maps.Keys(m.Built)) {
		table := m.Built[index]
		if s.large(table, p) && !said[table] && blocksWrites(m.Locks[table]) {
			said[table] = true
			add(RuleIndex, fmt.Sprintf("builds %s under %s on %s: %s", index, m.Locks[table], s.named(table), indexHint(m.Statement.SQL)))
		}
	}
	var read, held []string
	for _, table := range slices.Sorted(maps.Keys(m.Locks)) {
		rows, scanned := m.Read[table]
		switch mode := m.Locks[table]; {
		case !s.large(table, p) || said[table]:
		case scanned && rows*2 >= s[table].Filled && blocksWrites(mode):
			read = append(read, s.named(table)+" under "+mode)
		case mode == "ACCESS EXCLUSIVE" && m.Held > p.MaxLock:
			held = append(held, s.named(table))
		}
	}
	if read != nil {
		add(RuleScan, fmt.Sprintf("reads all of %s: %s", strings.Join(read, " and of "), scanHint(m.Statement.SQL)))
	}
	if held != nil {
		add(RuleLock, fmt.Sprintf("holds ACCESS EXCLUSIVE on %s for about %s, which is longer than %s: put the part that takes long into a separate migration",
			strings.Join(held, " and "), short(m.Held), p.MaxLock))
	}
	return list
}

func (s sizes) named(table string) string { return fmt.Sprintf("%s (%d rows)", table, s[table].Real) }

// short rounds a duration to as many digits as a reader needs.
func short(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second)
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

// forms are the safe forms of statements, by pattern. The first that matches
// is named.
type forms []struct {
	pattern *regexp.Regexp
	hint    string
}

func (f forms) hint(sql string) string {
	sql = strings.Join(strings.Fields(sql), " ")
	for _, form := range f {
		if form.pattern.MatchString(sql) {
			return form.hint
		}
	}
	return ""
}

func form(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)` + pattern) }

var rewriteForms = forms{
	{form(`\bADD (COLUMN )?.*\bGENERATED (ALWAYS|BY DEFAULT) AS IDENTITY|\bADD (COLUMN )?\S+ (big|small)?serial\b`), "add a nullable column without it, fill the rows in batches, and make it an identity when all have a value"},
	{form(`\bADD (COLUMN )?.*\bGENERATED ALWAYS AS \(`), "add a plain column, fill it by a trigger and in batches, or compute the value in a view"},
	{form(`\bADD (COLUMN )?.*\bDEFAULT\b`), "add the column without a default, SET DEFAULT in a second statement, and fill the rows in batches; a constant or stable default rewrites nothing"},
	{form(`\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b`), "add a column of the new type, keep it equal by a trigger, copy the rows in batches, and drop the old one in a later release; text, a longer varchar and a numeric of more digits rewrite nothing"},
	{form(`^VACUUM|^CLUSTER`), "use pg_repack, or do it while the table is not used"},
	{form(`^REFRESH MATERIALIZED VIEW`), "REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index"},
	{form(``), "make a new table, copy the rows in batches, and swap the names"},
}

func rewriteHint(sql string) string { return rewriteForms.hint(sql) }

var indexForms = forms{
	{form(`\bADD (CONSTRAINT \S+ )?(PRIMARY KEY|UNIQUE)`), "CREATE UNIQUE INDEX CONCURRENTLY in a migration with -- +goose NO TRANSACTION, and then ADD CONSTRAINT … USING INDEX"},
	{form(`\bADD (CONSTRAINT \S+ )?EXCLUDE`), "an exclusion constraint has no CONCURRENTLY: make a new table with it, and copy the rows in batches"},
	{form(`^REINDEX`), "REINDEX … CONCURRENTLY in a migration with -- +goose NO TRANSACTION"},
	{form(`^CREATE (UNIQUE )?INDEX CONCURRENTLY`), "look why it holds such a lock"},
	{form(`^CREATE (UNIQUE )?INDEX`), "CREATE INDEX CONCURRENTLY in a migration with -- +goose NO TRANSACTION"},
	{form(`\bTYPE\b`), "add a column of the new type with an index built CONCURRENTLY, copy the rows in batches, and drop the old one in a later release"},
	{form(``), "build the index CONCURRENTLY first, in a migration with -- +goose NO TRANSACTION"},
}

func indexHint(sql string) string { return indexForms.hint(sql) }

var scanForms = forms{
	{form(`\bSET NOT NULL\b`), "ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later migration, and then SET NOT NULL, which reads no row any more"},
	{form(`\bVALIDATE CONSTRAINT\b`), "put VALIDATE CONSTRAINT into a migration after that which adds the constraint, whose lock lasts to the end of its transaction"},
	{form(`\bATTACH PARTITION\b`), "give the table a CHECK constraint equal to the bounds, validated before: then ATTACH reads no row"},
	{form(`\bADD\b.*\b(FOREIGN KEY|REFERENCES|CHECK)\b`), "ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in a later migration"},
	{form(`\bADD (COLUMN )?.*\bNOT NULL\b`), "add the column with a constant DEFAULT"},
	{form(`^(UPDATE|DELETE|INSERT|SELECT|WITH|MERGE|COPY)\b`), "put it into a separate migration, before or after the one whose lock it holds, in batches"},
	{form(`^ALTER DOMAIN`), "ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in a later migration"},
	{form(``), "do the part that needs the scan in a separate migration, under a weaker lock"},
}

func scanHint(sql string) string { return scanForms.hint(sql) }

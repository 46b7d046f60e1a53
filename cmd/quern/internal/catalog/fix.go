package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// Fix returns the statements that remove the difference, without semicolons. They change the
// object to its state in the wanted schema. There are none if PostgreSQL cannot do that in place,
// or if the way is not known.
func (d Difference) Fix() []string {
	switch {
	case d.Have == nil:
		return d.create()
	case d.Want == nil:
		return some(d.Have.Drop)
	}
	o, value := d.Want, d.Want.Attr(d.Attr)
	switch o.Kind {
	case "column":
		return d.alterColumn(value)
	case "table":
		return d.alterTable(value)
	case "sequence":
		return some(prefixed("ALTER SEQUENCE "+o.Name+" ", d.sequenceOption(value)))
	case "identity":
		// The name of its column contains table and schema.
		table, column := cutLast(o.Name)
		if d.Attr == "type" {
			return nil // the sequence belongs to the column
		}
		return some(prefixed("ALTER TABLE "+table+" ALTER COLUMN "+column+" SET ", d.sequenceOption(value)))
	case "enum":
		return d.addLabels()
	case "domain":
		return d.alterDomain(value)
	case "function", "procedure":
		return some(o.Create)
	case "view":
		return some(strings.Replace(o.Create, "CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
	case "trigger":
		if d.Attr == "enabled" {
			return d.enableTrigger(value)
		}
	case "constraint":
		if d.Attr == "validated" && value == "true" {
			return some(strings.Replace(o.Drop, "DROP CONSTRAINT", "VALIDATE CONSTRAINT", 1))
		}
	case "comment":
		return some(o.Create)
	case "index":
		if d.Attr == "valid" {
			return some("REINDEX INDEX CONCURRENTLY " + o.Name)
		}
	case "extension":
		return some("ALTER EXTENSION " + o.Name + " SET SCHEMA " + value)
	}
	if o.Create == "" || d.Have.Drop == "" {
		return nil
	}
	return append([]string{d.Have.Drop}, d.create()...)
}

func some(statement string) []string {
	if statement == "" {
		return nil
	}
	return []string{statement}
}

// create returns the statements for an object that the database lacks.
func (d Difference) create() []string {
	list := some(d.Want.Create)
	if d.Want.Kind == "table" && d.Want.Create != "" {
		for _, attr := range []string{"row security", "replica identity"} {
			if value := d.Want.Attr(attr); value != "off" && value != "default" {
				list = append(list, Difference{Want: d.Want, Attr: attr}.alterTable(value)...)
			}
		}
	}
	if d.Want.Kind == "trigger" && d.Want.Attr("enabled") != "yes" {
		list = append(list, d.enableTrigger(d.Want.Attr("enabled"))...)
	}
	return list
}

func (d Difference) alterColumn(value string) []string {
	o := d.Want
	name := strings.TrimPrefix(o.Name, o.Parent+".")
	column := fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s ", o.Parent, name)
	switch d.Attr {
	case "type", "collation":
		set := column + "TYPE " + o.Attr("type")
		if collation := o.Attr("collation"); collation != "" {
			set += " COLLATE " + collation
		}
		return some(fmt.Sprintf("%s USING %s::%s", set, name, o.Attr("type")))
	case "not null":
		if value == "true" {
			return some(column + "SET NOT NULL")
		}
		return some(column + "DROP NOT NULL")
	case "default":
		if value == "" {
			return some(column + "DROP DEFAULT")
		}
		return some(column + "SET DEFAULT " + value)
	case "identity":
		switch {
		case value == "":
			return some(column + "DROP IDENTITY")
		case d.Have.Attr("identity") == "":
			return some(column + "ADD GENERATED " + value + " AS IDENTITY")
		}
		return some(column + "SET GENERATED " + value)
	case "generated":
		if value == "" {
			return some(column + "DROP EXPRESSION")
		}
		return append(some(o.Drop), o.Create)
	}
	return nil
}

func (d Difference) alterTable(value string) []string {
	table := "ALTER TABLE " + d.Want.Name + " "
	switch d.Attr {
	case "partition of":
		return d.attach()
	case "unlogged":
		if value == "true" {
			return some(table + "SET UNLOGGED")
		}
		return some(table + "SET LOGGED")
	case "row security":
		switch value {
		case "off":
			return []string{table + "NO FORCE ROW LEVEL SECURITY", table + "DISABLE ROW LEVEL SECURITY"}
		case "enabled":
			return []string{table + "ENABLE ROW LEVEL SECURITY", table + "NO FORCE ROW LEVEL SECURITY"}
		}
		return []string{table + "ENABLE ROW LEVEL SECURITY", table + "FORCE ROW LEVEL SECURITY"}
	case "replica identity":
		if index, ok := strings.CutPrefix(value, "index "); ok {
			// If the index is created later in the same list, this statement comes too early.
			_, index = cutSchema(index)
			return some(table + "REPLICA IDENTITY USING INDEX " + index)
		}
		return some(table + "REPLICA IDENTITY " + strings.ToUpper(value))
	case "storage parameters":
		var list []string
		for _, option := range optionNames(d.Have) {
			if !slices.Contains(optionNames(d.Want), option) {
				list = append(list, table+"RESET ("+option+")")
			}
		}
		if value != "" {
			list = append(list, table+"SET ("+value+")")
		}
		return list
	}
	return nil
}

// attach makes a table a partition again, or makes it no longer one.
func (d Difference) attach() (list []string) {
	// A parent that only inherits has no bound.
	if parent, _, ok := cutBound(d.Have.Attr("partition of")); ok {
		list = append(list, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s", parent, d.Want.Name))
	}
	if parent, bound, ok := cutBound(d.Want.Attr("partition of")); ok {
		list = append(list, fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s %s", parent, d.Want.Name, bound))
	}
	return list
}

func cutBound(of string) (parent, bound string, ok bool) {
	if parent, ok = strings.CutSuffix(of, " DEFAULT"); ok {
		return parent, "DEFAULT", true
	}
	parent, bound, ok = strings.Cut(of, " FOR VALUES ")
	return parent, "FOR VALUES " + bound, ok
}

func optionNames(o *Object) (names []string) {
	for option := range strings.SplitSeq(o.Attr("storage parameters"), ", ") {
		if name, _, ok := strings.Cut(option, "="); ok {
			names = append(names, name)
		}
	}
	return names
}

// cutSchema splits a name at its first dot outside of quotes.
func cutSchema(name string) (schema, rest string) {
	quoted := false
	for i, r := range name {
		switch {
		case r == '"':
			quoted = !quoted
		case r == '.' && !quoted:
			return name[:i], name[i+1:]
		}
	}
	return "", name
}

func prefixed(prefix, option string) string {
	if option == "" {
		return ""
	}
	return prefix + option
}

// cutLast splits a name at its last dot outside of quotes.
func cutLast(name string) (before, last string) {
	for rest := name; ; {
		first, after := cutSchema(rest)
		if first == "" {
			return strings.TrimSuffix(name, "."+rest), rest
		}
		rest = after
	}
}

// sequenceOption returns the option of ALTER SEQUENCE that sets the property that differs.
func (d Difference) sequenceOption(value string) string {
	switch d.Attr {
	case "type":
		return "AS " + value
	case "start":
		return "START WITH " + value
	case "increment":
		return "INCREMENT BY " + value
	case "minimum":
		return "MINVALUE " + value
	case "maximum":
		return "MAXVALUE " + value
	case "cache":
		return "CACHE " + value
	case "cycle":
		if value == "true" {
			return "CYCLE"
		}
		return "NO CYCLE"
	case "owned by":
		if value == "" {
			value = "NONE"
		}
		return "OWNED BY " + value
	}
	return ""
}

// addLabels adds the labels that an enum lacks. PostgreSQL cannot remove or reorder them.
func (d Difference) addLabels() (list []string) {
	want, have := labels(d.Want), labels(d.Have)
	for i, label := range want {
		if slices.Contains(have, label) {
			continue
		}
		place := ""
		if i > 0 {
			place = " AFTER " + want[i-1]
		} else if len(want) > 1 {
			place = " BEFORE " + want[1]
		}
		list = append(list, "ALTER TYPE "+d.Want.Name+" ADD VALUE "+label+place)
	}
	for _, label := range have {
		if !slices.Contains(want, label) {
			return nil
		}
	}
	return list
}

// labels returns the labels of an enum, quoted.
func labels(o *Object) []string {
	if o.Attr("labels") == "" {
		return nil
	}
	return strings.Split(o.Attr("labels"), ", ")
}

func (d Difference) alterDomain(value string) []string {
	domain := "ALTER DOMAIN " + d.Want.Name + " "
	switch {
	case d.Attr == "default" && value == "":
		return some(domain + "DROP DEFAULT")
	case d.Attr == "default":
		return some(domain + "SET DEFAULT " + value)
	case d.Attr == "not null" && value == "true":
		return some(domain + "SET NOT NULL")
	case d.Attr == "not null":
		return some(domain + "DROP NOT NULL")
	}
	return nil
}

func (d Difference) enableTrigger(value string) []string {
	o := d.Want
	how := map[string]string{"yes": "ENABLE", "no": "DISABLE", "always": "ENABLE ALWAYS", "replica": "ENABLE REPLICA"}[value]
	return some(fmt.Sprintf("ALTER TABLE %s %s TRIGGER %s", o.Parent, how, strings.TrimPrefix(o.Name, o.Parent+".")))
}

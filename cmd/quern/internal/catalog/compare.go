package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is one object that differs between the wanted schema and the one that a
// database has.
type Difference struct {
	Want *Object // nil if only the database has it
	Have *Object // nil if the database lacks it
	Attr string  // the property that differs, if both have it

	// Within is set for an object that belongs to another one, such as a column to its table,
	// if the database lacks that one, too.
	Within bool
}

// Compare returns the differences between the schema have and the schema want, in an order in
// which they can be removed. If only the database has an object, its parts are not listed.
// Grants are compared for PUBLIC and for the roles that a grant in want names, because
// operators grant privileges to further roles.
func Compare(want, have *Schema) (list []Difference) {
	roles := want.grantees()
	var owned []Difference // a sequence is created before the column that owns it
	for _, key := range slices.Backward(have.order) {
		o := have.Objects[key]
		if want.Objects[key] == nil && !have.without(o, want) && (o.Kind != "grant" || roles[grantee(o)]) {
			list = append(list, Difference{Have: o})
		}
	}
	for _, key := range want.order {
		w, h := want.Objects[key], have.Objects[key]
		if h == nil {
			within := want.without(w, have)
			// CREATE TABLE already creates the columns, and their identity.
			if !within || w.Kind != "column" && w.Kind != "identity" {
				list = append(list, Difference{Want: w, Within: within})
			}
			if w.Attr("owned by") != "" && w.Kind == "sequence" {
				owned = append(owned, Difference{Want: w, Have: w, Attr: "owned by", Within: true})
			}
			continue
		}
		for _, attr := range w.Attrs {
			if h.Attr(attr.Name) != attr.Value {
				list = append(list, Difference{Want: w, Have: h, Attr: attr.Name})
			}
		}
	}
	return append(list, owned...)
}

// parentKinds are the kinds of objects that are created and dropped together with their parts.
var parentKinds = []string{"table", "foreign table", "view", "materialized view", "domain", "function", "procedure", "sequence", "column"}

// parent returns the object to which o belongs, or nil if o belongs directly to a schema.
func (s *Schema) parent(o *Object) *Object {
	name := o.Parent
	if o.Kind == "sequence" || o.Kind == "identity" {
		name = o.Attr("owned by")
	}
	for _, kind := range parentKinds {
		if p := s.Objects[kind+" "+name]; p != nil {
			return p
		}
	}
	return nil
}

// without reports whether o belongs to an object that other lacks, or to a table that is a
// partition only in other and therefore does not have its own columns there.
func (s *Schema) without(o *Object, other *Schema) bool {
	p := s.parent(o)
	if p == nil {
		return false
	}
	same := other.Objects[p.Key()]
	return same == nil || p.Attr("partition of") == "" && same.Attr("partition of") != "" || s.without(p, other)
}

func (s *Schema) grantees() map[string]bool {
	roles := map[string]bool{"PUBLIC": true}
	for _, o := range s.Objects {
		if o.Kind == "grant" {
			roles[grantee(o)] = true
		}
	}
	return roles
}

// grantee returns the role of a grant.
func grantee(o *Object) string {
	_, role, _ := strings.Cut(o.Name, " TO ")
	return role
}

// String says what differs in one line.
func (d Difference) String() string {
	switch {
	case d.Have == nil:
		return fmt.Sprintf("%s: missing in the database", d.Want.Key())
	case d.Want == nil && d.Have.Kind == "index" && d.Have.Attr("valid") == "false":
		return fmt.Sprintf("%s: INVALID and not in the migrations: a CREATE INDEX CONCURRENTLY failed", d.Have.Key())
	case d.Want == nil:
		return fmt.Sprintf("%s: not in the migrations", d.Have.Key())
	case d.Want.Kind == "index" && d.Attr == "valid" && d.Have.Attr("valid") == "false":
		return fmt.Sprintf("%s: INVALID: a CREATE INDEX CONCURRENTLY failed, so it serves no read", d.Want.Key())
	case d.Attr == "validated" && d.Have.Attr("validated") == "false":
		return fmt.Sprintf("%s: NOT VALID: the rows that were there before it are not checked", d.Want.Key())
	}
	want, have := d.Want.Attr(d.Attr), d.Have.Attr(d.Attr)
	return fmt.Sprintf("%s: %s is %s, the migrations give %s", d.Want.Key(), d.Attr, shown(have), shown(want))
}

// Subject names the object, and the property if that is what differs.
func (d Difference) Subject() string {
	switch {
	case d.Want == nil:
		return d.Have.Key() + ", which should not be there"
	case d.Attr != "":
		return d.Want.Key() + ", whose " + d.Attr + " is " + shown(d.Have.Attr(d.Attr)) + " and not " + shown(d.Want.Attr(d.Attr))
	}
	return d.Want.Key() + ", which is missing"
}

// shown formats a value on one line.
func shown(value string) string {
	const longest = 100
	value = strings.Join(strings.Fields(value), " ")
	switch {
	case value == "":
		return "none"
	case len([]rune(value)) > longest:
		return string([]rune(value)[:longest]) + "…"
	}
	return value
}

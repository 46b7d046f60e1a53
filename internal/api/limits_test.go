package api

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"quern/internal/store"
	"quern/internal/storetest"
)

// bounds are the minimum and maximum value of a column, or length of a text.
type bounds struct{ least, most int }

const unbounded = -1

// bound matches the comparisons of a CHECK, such as char_length(username) <= 50.
var bound = regexp.MustCompile(`\((?:(?:char_)?length\(\(?(\w+)\)?(?:::text)?\)|(\w+)) (>=|<=|>|<) (\d+)\)`)

// alternative matches a CHECK whose comparisons need not all hold.
var alternative = regexp.MustCompile(`\b(?:OR|NOT|CASE)\b`)

// hint returns the tags that set the bounds, for the error of a member that has other ones.
func (b bounds) hint(text bool) string {
	least, most := "minimum", "maximum"
	if text {
		least, most = "minLength", "maxLength"
	}
	var tags []string
	if b.least != unbounded {
		tags = append(tags, fmt.Sprintf("%s:%q", least, strconv.Itoa(b.least)))
	}
	if b.most != unbounded {
		tags = append(tags, fmt.Sprintf("%s:%q", most, strconv.Itoa(b.most)))
	}
	return "add " + strings.Join(tags, " ") + " to its tag"
}

// boundsOf returns the bounds that the CHECKs and the varchar(n) of the tables set, by table and
// column. Of two bounds the stricter one applies.
func boundsOf(t *testing.T, d *storetest.DB) map[string]bounds {
	t.Helper()
	rows, err := d.Router.Pool().Query(t.Context(), `SELECT conrelid::regclass::text, pg_get_constraintdef(oid)
		FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace
		UNION ALL
		SELECT c.oid::regclass::text, format('(char_length(%I) <= %s)', attname, atttypmod - 4)
		FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid
		WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND attnum > 0
		  AND atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND atttypmod > 0`)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bounds{}
	var table, check string
	if _, err := pgx.ForEachRow(rows, []any{&table, &check}, func() error {
		if alternative.MatchString(strings.TrimSuffix(check, " NOT VALID")) {
			return nil
		}
		for _, m := range bound.FindAllStringSubmatch(check, -1) {
			column := table + "." + m[1] + m[2]
			b, known := all[column]
			if !known {
				b = bounds{unbounded, unbounded}
			}
			n, err := strconv.Atoi(m[4])
			if err != nil {
				return err
			}
			switch m[3] {
			case ">":
				n++
			case "<":
				n--
			}
			if m[3][0] == '>' {
				b.least = max(b.least, n)
			} else if b.most == unbounded || n < b.most {
				b.most = n
			}
			all[column] = b
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// boundsIn returns the bounds that a schema sets.
func boundsIn(s *huma.Schema) bounds {
	b := bounds{unbounded, unbounded}
	set := func(to *int, length *int, value *float64) {
		switch {
		case length != nil:
			*to = *length
		case value != nil:
			*to = int(*value)
		}
	}
	set(&b.least, s.MinLength, s.Minimum)
	set(&b.most, s.MaxLength, s.Maximum)
	return b
}

// TestLimits compares the limits of requests and of imports with the CHECKs of the tables,
// which are the source. NewUser, UserPatch and UserChange are compared with users, and the
// bodies of further nouns with their tables. A request may have a bound where the table has
// none.
func TestLimits(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	tables := boundsOf(t, d)
	for column, want := range map[string]bounds{
		"users.username": {1, store.MaxUsername}, "users.email": {1, store.MaxEmail}, "users.age": {0, store.MaxAge},
		"posts.title": {1, store.MaxTitle}, "tasks.name": {1, maxTaskName},
	} {
		if got := tables[column]; got != want {
			t.Errorf("the table bounds %s by %v, Go by %v", column, got, want)
		}
	}
	doc := newServer(Config{}).api.OpenAPI()
	named := map[string]string{ // members whose name differs from that of their column, or that belong to another schema
		"TaskClaim.worker": "tasks.worker", "TaskLease.worker": "tasks.worker", "TaskFailure.error": "tasks.last_error",
	}
	checked := 0
	for name, schema := range doc.Components.Schemas.Map() {
		noun := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "New"), "Patch"), "Change")
		for member, property := range schema.Properties {
			column := named[name+"."+member]
			if column == "" && noun != name {
				column = strings.ToLower(noun) + "s." + member
			}
			if want, known := tables[column]; known {
				checked++
				got := boundsIn(property)
				if want.least != unbounded && got.least != want.least || want.most != unbounded && got.most != want.most {
					t.Errorf("%s.%s has the bounds %v, its column %v: %s", name, member, got, want, want.hint(property.Type == huma.TypeString))
				}
			}
			if member == "tags" && noun != name {
				if got, want := fmt.Sprint(*property.MaxItems, *property.Items.MaxLength), fmt.Sprint(store.MaxTags, store.MaxTag); got != want {
					t.Errorf("%s.tags has the limits %s, an import %s", name, got, want)
				}
			}
		}
	}
	if checked < 14 {
		t.Errorf("%d members were checked, want 14 or more", checked)
	}
	for _, param := range []struct {
		op   *huma.Operation
		name string
		most int
	}{
		{doc.Paths["/v1/users"].Get, "username_prefix", store.MaxUsername},
		{doc.Paths["/v1/users/export"].Get, "username_prefix", store.MaxUsername},
		{doc.Paths["/v1/users"].Get, "min_age", store.MaxAge},
		{doc.Paths["/v1/users"].Get, "max_age", store.MaxAge},
		{doc.Paths["/v1/tasks"].Get, "name", maxTaskName},
	} {
		for _, p := range param.op.Parameters {
			if p.Name == param.name && boundsIn(p.Schema).most != param.most {
				t.Errorf("%s: %s is at most %d, want %d", param.op.OperationID, p.Name, boundsIn(p.Schema).most, param.most)
			}
		}
	}
}

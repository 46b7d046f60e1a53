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
var bound = regexp.MustCompile(`\((?:char_length\((\w+)\)|(\w+)) (>=|<=) (\d+)\)`)

// boundsOf returns the bounds that the CHECKs of the tables set, by table and column.
func boundsOf(t *testing.T, d *storetest.DB) map[string]bounds {
	t.Helper()
	rows, err := d.Router.Pool().Query(t.Context(), `SELECT conrelid::regclass::text, pg_get_constraintdef(oid)
		FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bounds{}
	var table, check string
	if _, err := pgx.ForEachRow(rows, []any{&table, &check}, func() error {
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
			if m[3] == ">=" {
				b.least = n
			} else {
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
					t.Errorf("%s.%s has the bounds %v, its column %v", name, member, got, want)
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

package api

import (
	"fmt"
	"strings"
	"testing"
)

// TestBody_Integers checks that every integer of a body may be written with a fraction of zeros
// or an exponent, as in JSON Schema, and that no digit of it is lost.
func TestBody_Integers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var u User
	c.do("POST", "/v1/users", `{"username":"a","email":"x","age":30.0}`).want(201).into(&u)
	user := fmt.Sprint("/v1/users/", u.ID)
	c.do("PATCH", user, `{"age":3.1e1}`).want(200)
	c.do("PATCH", "/v1/users", fmt.Sprintf(`[{"id":%d.0,"version":2.0,"age":320e-1}]`, u.ID)).want(200)
	c.get(user).into(&u)
	if *u.Age != 32 || u.Version != 3 {
		t.Errorf("%+v, age %d", u, *u.Age)
	}
	c.do("POST", "/v1/tasks", `{"name":"t","payload":{"n":30.0},"max_attempts":3.0}`).want(201)
	var many TaskIDs
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"t","max_attempts":3},{"name":"t","max_attempts":4e0,"payload":[1.0]}]`).want(201).into(&many)
	var claimed TasksClaimed
	c.do("POST", "/v1/tasks/claim", `{"worker":"w","limit":5.0,"lease_seconds":6e1,"wait_seconds":0.0}`).want(200).into(&claimed)
	if len(claimed.Items) != 3 || claimed.Items[0].MaxAttempts != 3 || claimed.Items[2].MaxAttempts != 4 {
		t.Fatalf("%+v", claimed)
	}
	if got := string(claimed.Items[0].Payload); got != `{"n": 30.0}` && got != `{"n":30.0}` {
		t.Errorf("the payload is %s, want it as it was sent", got)
	}
	task := fmt.Sprint("/v1/tasks/", claimed.Items[0].ID)
	c.do("POST", task+"/extend", `{"worker":"w","attempts":1.0,"lease_seconds":90.0}`).want(200)
	c.do("POST", task+"/fail", `{"worker":"w","attempts":1e0,"retry_after_seconds":1.0}`).want(200)
	c.do("POST", fmt.Sprint("/v1/tasks/", claimed.Items[1].ID, "/complete"), `{"worker":"w","attempts":1.00}`).want(200)

	// As a floating-point number, this id would become the one below it.
	const id = "9007199254740993"
	if a := c.do("POST", "/v1/users/bulk-delete", `[{"id":`+id+`.0}]`).want(200); !strings.Contains(a.body, "["+id+"]") {
		t.Errorf("%s, want %s among those that were not found", a.body, id)
	}
	c.do("POST", "/v1/users/bulk-delete", fmt.Sprintf(`[{"id":%d.0,"version":3.0}]`, u.ID)).want(200)
	for _, test := range []struct{ method, path, body, location string }{
		{"POST", "/v1/users", `{"username":"b","email":"x","age":30.5}`, "body.age"},
		{"PATCH", "/v1/users", `[{"id":1,"age":1},{"id":1.5,"age":1}]`, "body[1].id"},
		{"POST", "/v1/users/bulk-delete", `[{"id":1},{"id":1e30}]`, "body[1].id"},
		{"POST", "/v1/users/bulk-delete", `[{"id":1},{"id":9223372036854775808}]`, "body[1].id"},
		{"POST", "/v1/tasks/1/complete", `{"worker":"w","attempts":3000000000}`, "body.attempts"},
		{"POST", "/v1/tasks/1/extend", `{"worker":"w","attempts":1.0,"lease_seconds":0.0}`, "body.lease_seconds"},
	} {
		c.do(test.method, test.path, test.body).problem(422, codeInvalid, test.location)
	}
}

// TestBody_HugeNumbers checks that a number which jsonb or its readers cannot represent is
// refused, with its location.
func TestBody_HugeNumbers(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for payload, path := range map[string]string{
		`1e400`:                                  "",
		`{"n":1e400}`:                            ".n",
		`{"a":[1,{"b":-1e309}]}`:                 ".a[1].b",
		`[1e-400]`:                               "[0]",
		`[0,1e999999999999999999999]`:            "[1]",
		`[0e99999]`:                              "[0]",
		`{"n":` + strings.Repeat("9", 400) + `}`: ".n",
		`[0.` + strings.Repeat("3", 17000) + `]`: "[0]",
	} {
		p := c.do("POST", "/v1/tasks", `{"name":"a","payload":`+payload+`}`).problem(422, codeInvalid, "body.payload"+path)
		if m := p.Errors[0].Message; !strings.HasPrefix(m, "the number ") || !strings.Contains(m, "is out of range") || len(m) > 400 {
			t.Errorf("%.40s: %s", payload, m)
		}
		c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"a","payload":`+payload+`}]`).problem(422, codeInvalid, "body[1].payload"+path)
	}
	for _, payload := range []string{`1e308`, `[-1.7976931348623157e308,5e-324,0e400,0.0,12345678901234567890,0.1000]`} {
		c.do("POST", "/v1/tasks", `{"name":"a","payload":`+payload+`}`).want(201)
	}
	if n := c.db.Count(t, "SELECT count(*) FROM tasks"); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}

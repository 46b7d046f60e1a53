package api

import (
	"fmt"
	"strings"
	"testing"
)

// TestBody_Duplicates checks that no operation accepts two values for one member and silently
// uses one of them.
func TestBody_Duplicates(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	c.db.CreateUser(t)
	user := fmt.Sprint("/v1/users/", u.ID)
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, `"m%d":{"same":%d},`, i, i)
	}
	for _, test := range []struct{ method, path, body, location string }{
		{"POST", "/v1/users", `{"username":"a","email":"x","username":"b"}`, "body.username"},
		{"POST", "/v1/users", `{"username":"a","email":"x","user\u006eame":"b"}`, "body.username"},
		{"PATCH", user, `{"age":1,"age":2}`, "body.age"},
		{"PATCH", "/v1/users", `[{"id":1,"age":1},{"id":2,"age":1,"age":null}]`, "body[1].age"},
		{"POST", "/v1/users/bulk-delete", `[{"id":2,"id":1}]`, "body[0].id"},
		{"POST", user + "/posts", `{"title":"a","content":"x","content":"y"}`, "body.content"},
		{"POST", "/v1/tasks", `{"name":"a","name":"b"}`, "body.name"},
		{"POST", "/v1/tasks", `{"name":"a","payload":{"to":[1,{"a b":1,"a b":2}]}}`, "body.payload.to[1].a b"},
		{"POST", "/v1/tasks", `{"name":"a","payload":{` + many.String() + `"m7":1}}`, "body.payload.m7"},
		{"POST", "/v1/tasks/claim", `{"worker":"a","worker":"b"}`, "body.worker"},
	} {
		c.do(test.method, test.path, test.body).problem(422, codeInvalid, test.location)
	}
	if n := c.db.Count(t, "SELECT count(*) FROM users WHERE version = 1"); n != 2 {
		t.Errorf("%d users are as they were, want 2", n)
	}
	for _, payload := range []string{`{}`, ` [ ] `, `"\"{"`, `-1e3`, `null`, `{` + many.String() + `"m":1}`, `[{"a":1},{"a":1,"b":{"a":[]}}]`, `{"":"\\","x":""}`} {
		c.do("POST", "/v1/tasks", fmt.Sprintf(`{"name":"a", "payload":%s}`, payload)).want(201)
	}
}

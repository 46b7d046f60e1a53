package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCreateTask(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for body, payload := range map[string]string{
		`{"name":"n"}`:                                   `{}`,
		`{"name":"n","payload":null}`:                    `null`,
		`{"name":"n","payload":{"b":1,"a":[true]}}`:      `{"a":[true],"b":1}`,
		`{"name":"n","payload":"\\u0000 <é> \u20ac"}`:    `"\\u0000 <é> €"`,
		`{"name":"n","payload":12345678901234567890.10}`: `12345678901234567890.10`,
		`{"name":"n","payload":false,"max_attempts":1}`:  `false`,
	} {
		var task Task
		a := c.do("POST", "/v1/tasks", body).want(201).into(&task)
		if string(task.Payload) != payload || task.Status != "pending" || task.Worker != nil || task.LeaseUntil != nil || task.LastError != nil {
			t.Errorf("%s is %s, want the payload %s", body, a.body, payload)
		}
		if want := int32(10); task.MaxAttempts != want && !strings.Contains(body, "max_attempts") {
			t.Errorf("%s has %d attempts, want %d", body, task.MaxAttempts, want)
		}
		if got := c.get(a.header.Get("Location")); got.body != a.body {
			t.Errorf("created %s, and found %s", a.body, got.body)
		}
	}
	var task Task
	c.do("POST", "/v1/tasks", `{"name":"n","run_at":"2099-06-01T12:00:00.5+02:00"}`).want(201).into(&task)
	if want := time.Date(2099, 6, 1, 10, 0, 0, 500_000_000, time.UTC); !task.RunAt.Equal(want) {
		t.Errorf("due at %v, want %v", task.RunAt, want)
	}
	for body, locations := range map[string][]string{
		`{}`:                                          {"body.name"},
		`{"name":""}`:                                 {"body.name"},
		`{"name":"n","max_attempts":0}`:               {"body.max_attempts"},
		`{"name":"n","run_at":"soon"}`:                {"body.run_at"},
		`{"name":"n","status":"failed"}`:              {"body.status"},
		`{"name":"n","payload":{"a":["\\\u0000"]}}`:   {"body.payload"},
		`{"name":"` + strings.Repeat("x", 201) + `"}`: {"body.name"},
	} {
		c.do("POST", "/v1/tasks", body).problem(422, codeInvalid, locations...)
	}
	c.do("GET", "/v1/tasks/999", "").problem(404, codeNotFound)
}

func TestCreateTasks(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var got TaskIDs
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"b","payload":[1],"max_attempts":2,"run_at":"2099-01-01T00:00:00Z"}]`).want(201).into(&got)
	if diff := cmp.Diff([]int64{1, 2}, got.IDs); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	var b Task
	c.get("/v1/tasks/2").into(&b)
	if b.Name != "b" || string(b.Payload) != "[1]" || b.MaxAttempts != 2 || b.RunAt.Year() != 2099 {
		t.Errorf("the second is %+v", b)
	}
	if a := c.do("POST", "/v1/tasks/bulk-create", `[]`).want(201); a.body != `{"ids":[]}`+"\n" {
		t.Errorf("none are %s", a.body)
	}
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"","payload":"\u0000"},{}]`).
		problem(422, codeInvalid, "body[1].name", "body[1].payload", "body[2].name")
	c.do("POST", "/v1/tasks/bulk-create", "["+strings.Repeat(`{"name":"a"},`, 10_000)+`{"name":"a"}]`).problem(422, codeInvalid, "body")
	c.do("POST", "/v1/tasks/bulk-create", "["+strings.Repeat(`{"name":"a"},`, 9_999)+`{"name":"a"}]`).want(201)
	if n := c.db.Count(t, "SELECT count(*) FROM tasks"); n != 10_002 {
		t.Errorf("%d tasks, want 10,002", n)
	}
}

func TestListTasks(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	if a := c.get("/v1/tasks"); a.body != `{"items":[],"next":null,"prev":null}`+"\n" {
		t.Errorf("none are %s", a.body)
	}
	c.db.Exec(t, `INSERT INTO tasks (name, status) SELECT i, (CASE WHEN i % 3 = 0 THEN 'failed' ELSE 'pending' END)::task_status FROM generate_series(1, 20) AS i`)
	for status, want := range map[string]int{"": 20, "failed": 6, "pending": 14, "completed": 0} {
		var forward, back []int64
		path := "/v1/tasks?limit=4"
		if status != "" {
			path += "&status=" + status
		}
		first := path
		var page Page[Task]
		for path != "" {
			page = Page[Task]{}
			a := c.get(path).into(&page)
			for _, task := range page.Items {
				forward = append(forward, task.ID)
				if status != "" && task.Status != status {
					t.Errorf("%s among the %s", task.Status, status)
				}
			}
			path = followed(a, "next", page.Next)
		}
		for page.Prev != nil {
			path := first + "&before=" + *page.Prev
			page = Page[Task]{}
			a := c.get(path).into(&page)
			followed(a, "prev", page.Prev)
			for i := len(page.Items) - 1; i >= 0; i-- {
				back = append(back, page.Items[i].ID)
			}
		}
		if len(forward) != want || len(back) != want-(want-1)%4-1 && want > 0 {
			t.Errorf("%q: %d forward and %d back, want %d", status, len(forward), len(back), want)
		}
	}
	var page Page[Task]
	c.get("/v1/tasks?limit=1&status=failed").into(&page)
	c.do("GET", "/v1/tasks?status=pending&after="+*page.Next, "").problem(400, codeInvalidCursor)
	c.do("GET", "/v1/tasks?after="+*page.Next, "").problem(400, codeInvalidCursor)
	c.do("GET", "/v1/tasks?status=done", "").problem(422, codeInvalid, "query.status")

	c.db.Exec(t, "UPDATE tasks SET name = 'odd' WHERE id % 2 = 1")
	for query, want := range map[string][]int64{
		"name=odd&limit=3":                 {1, 3, 5},
		"name=odd&status=failed":           {3, 9, 15},
		"name=odd&status=cancelled":        nil,
		"name=2":                           {2},
		"name=ODD":                         nil,
		"name=o%25":                        nil,
		"name=odd&status=pending&limit=12": {1, 5, 7, 11, 13, 17, 19},
	} {
		page = Page[Task]{}
		a := c.get("/v1/tasks?" + query).into(&page)
		var got []int64
		for _, task := range page.Items {
			got = append(got, task.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		followed(a, "next", page.Next)
	}
	c.get("/v1/tasks?limit=1&name=odd&status=failed").into(&page)
	c.get("/v1/tasks?limit=1&name=odd&status=failed&after=" + *page.Next)
	for _, query := range []string{"status=failed", "name=odd", "name=2&status=failed"} {
		c.do("GET", "/v1/tasks?"+query+"&after="+*page.Next, "").problem(400, codeInvalidCursor)
	}
	c.do("GET", "/v1/tasks?name="+strings.Repeat("x", 201), "").problem(422, codeInvalid, "query.name")
	c.do("GET", "/v1/tasks?name=%00", "").problem(422, codeInvalid, "query.name")
}

// TestCompleteTasks completes a whole claim at once, and tells completed tasks from those that are
// missing or whose lease is lost. Repeating the request is harmless.
func TestCompleteTasks(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	complete := func(items string) *answer {
		t.Helper()
		return c.do("POST", "/v1/tasks/bulk-complete", "["+items+"]")
	}
	if a := complete("").want(200); a.body != `{"completed":0,"not_found":[],"lease_lost":[]}`+"\n" {
		t.Errorf("none: %s", a.body)
	}
	c.do("POST", "/v1/tasks/bulk-create", "["+strings.Repeat(`{"name":"a"},`, 999)+`{"name":"a"}]`).want(201)
	var got TasksClaimed
	c.do("POST", "/v1/tasks/claim", `{"worker":"w","limit":990}`).want(200).into(&got)
	var items []string
	for _, task := range got.Items {
		items = append(items, fmt.Sprintf(`{"id":%d,"worker":"w","attempts":%d}`, task.ID, task.Attempts))
	}
	for range 2 {
		if a := complete(strings.Join(items, ",")).want(200); a.body != `{"completed":990,"not_found":[],"lease_lost":[]}`+"\n" {
			t.Errorf("a whole claim: %s", a.body)
		}
	}
	c.do("POST", "/v1/tasks/claim", `{"worker":"v","limit":10}`).want(200)
	c.do("POST", "/v1/tasks/992/fail", `{"worker":"v","attempts":1}`).want(200)
	c.do("POST", "/v1/tasks/993/cancel", "").want(200)
	mixed := `{"id":5000,"worker":"v","attempts":1},{"id":1,"worker":"w","attempts":1},{"id":2,"worker":"v","attempts":1},
		{"id":991,"worker":"v","attempts":1},{"id":992,"worker":"v","attempts":1},{"id":993,"worker":"v","attempts":1},
		{"id":994,"worker":"v","attempts":2},{"id":995,"worker":"w","attempts":1},{"id":4000,"worker":"v","attempts":1}`
	for range 2 {
		if a := complete(mixed).want(200); a.body != `{"completed":2,"not_found":[4000,5000],"lease_lost":[2,992,993,994,995]}`+"\n" {
			t.Errorf("%s", a.body)
		}
	}
	complete(`{"id":1,"worker":"w","attempts":1},{"id":1,"worker":"w","attempts":1}`).problem(422, codeInvalid, "body[1].id")
	complete(`{"id":1,"worker":"","attempts":0},{"worker":"w"}`).problem(422, codeInvalid, "body[0].attempts", "body[0].worker", "body[1].attempts", "body[1].id")
	for id := 1001; len(items) <= 1000; id++ {
		items = append(items, fmt.Sprintf(`{"id":%d,"worker":"w","attempts":1}`, id))
	}
	complete(strings.Join(items, ",")).problem(422, codeInvalid, "body")
	if running := c.do("GET", "/v1/tasks?status=running&limit=100", "").want(200); strings.Count(running.body, `"id":`) != 7 {
		t.Errorf("running: %s", running.body)
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	claim := func(body string) []Task {
		t.Helper()
		var got TasksClaimed
		c.do("POST", "/v1/tasks/claim", body).want(200).into(&got)
		return got.Items
	}
	act := func(id int64, act, body string) *answer {
		t.Helper()
		return c.do("POST", fmt.Sprintf("/v1/tasks/%d/%s", id, act), body)
	}
	if a := c.do("POST", "/v1/tasks/claim", `{"worker":"w"}`).want(200); a.body != `{"items":[]}`+"\n" {
		t.Errorf("none are %s", a.body)
	}
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d","max_attempts":1}]`).want(201)
	first := claim(`{"worker":"w"}`)
	if len(first) != 1 || first[0].Status != "running" || *first[0].Worker != "w" || time.Until(*first[0].LeaseUntil) > time.Minute || time.Until(*first[0].LeaseUntil) < 50*time.Second {
		t.Fatalf("claimed %+v, want one for a minute", first)
	}
	rest := claim(`{"worker":"v","limit":10,"lease_seconds":3600}`)
	if len(rest) != 3 || rest[0].Name != "b" || rest[2].Name != "d" {
		t.Fatalf("claimed %+v, want b, c and d", rest)
	}

	var task Task
	act(1, "extend", `{"worker":"w","attempts":1,"lease_seconds":7200}`).want(200).into(&task)
	if time.Until(*task.LeaseUntil) < 119*time.Minute {
		t.Errorf("extended to %v", task.LeaseUntil)
	}
	for range 2 {
		act(1, "complete", `{"worker":"w","attempts":1}`).want(200).into(&task)
		if task.Status != "completed" || task.LeaseUntil != nil {
			t.Errorf("completed: %+v", task)
		}
	}
	act(1, "extend", `{"worker":"w","attempts":1}`).problem(409, codeLeaseLost)

	act(2, "fail", `{"worker":"v","attempts":1,"error":"broken","retry":false}`).want(200).into(&task)
	if task.Status != "failed" || *task.LastError != "broken" {
		t.Errorf("failed for good: %+v", task)
	}
	act(3, "fail", `{"worker":"v","attempts":1,"retry_after_seconds":0}`).want(200).into(&task)
	if task.Status != "pending" || task.LastError != nil {
		t.Errorf("failed for now: %+v", task)
	}
	again := claim(`{"worker":"v","limit":10}`)
	if len(again) != 1 || again[0].ID != 3 || again[0].Attempts != 2 {
		t.Errorf("claimed %+v, want c again", again)
	}
	for _, name := range []string{"extend", "complete", "fail", "release"} {
		act(3, name, `{"worker":"v","attempts":1}`).problem(409, codeLeaseLost)
		act(3, name, `{"worker":"w","attempts":2}`).problem(409, codeLeaseLost)
		act(99, name, `{"worker":"w","attempts":2}`).problem(404, codeNotFound)
		act(3, name, `{"worker":"","attempts":0}`).problem(422, codeInvalid, "body.attempts", "body.worker")
		act(3, name, `{}`).problem(422, codeInvalid, "body.attempts", "body.worker")
	}
	act(4, "fail", `{"worker":"v","attempts":1,"retry_after_seconds":5}`).want(200).into(&task)
	if task.Status != "failed" {
		t.Errorf("its only attempt failed: %+v", task)
	}
	act(3, "fail", `{"worker":"v","attempts":2,"retry_after_seconds":-1}`).problem(422, codeInvalid, "body.retry_after_seconds")
	act(3, "fail", `{"worker":"v","attempts":2,"retry":false,"retry_after_seconds":5}`).problem(422, codeInvalid, "body.retry_after_seconds")
	act(3, "fail", `{"worker":"v","attempts":2,"retry":null}`).problem(422, codeInvalid, "body.retry")
	act(3, "fail", `{"worker":"v","attempts":2,"retry":"no"}`).problem(422, codeInvalid, "body.retry")
	act(3, "fail", `{"worker":"v","attempts":2,"retry_after_seconds":null}`).want(200).into(&task)
	if wait := task.RunAt.Sub(task.UpdatedAt); task.Status != "pending" || wait < 2*time.Second || wait > 3*time.Second {
		t.Errorf("failed without a word on when: %+v, due after %v: want it pending, and due after 2 s to 3 s", task, wait)
	}

	for body, locations := range map[string][]string{
		`{}`:                                      {"body.worker"},
		`{"worker":"w","limit":1001}`:             {"body.limit"},
		`{"worker":"w","limit":0}`:                {"body.limit"},
		`{"worker":"w","lease_seconds":0}`:        {"body.lease_seconds"},
		`{"worker":"w","wait_seconds":31}`:        {"body.wait_seconds"},
		`{"worker":"w\u0000","limit":1}`:          {"body.worker"},
		`{"worker":"w","name":""}`:                {"body.name"},
		`{"worker":"w","name":"a\u0000"}`:         {"body.name"},
		`{"worker":"w","name":7}`:                 {"body.name"},
		`{"worker":"w","name":["a",null]}`:        {"body.name"},
		`{"worker":"w","name":[]}`:                {"body.name"},
		`{"worker":"w","name":["a",""]}`:          {"body.name"},
		`{"worker":"w","name":["a","a"]}`:         {"body.name"},
		`{"worker":"w","name":["a",7],"limit":0}`: {"body.limit", "body.name"},
		`{"worker":"w","name":["` + strings.Join(strings.Split(strings.Repeat("x", 21), ""), `1","`) + `"]}`: {"body.name"},
		`{"worker":"` + strings.Repeat("x", 101) + `"}`:                                                      {"body.worker"},
	} {
		c.do("POST", "/v1/tasks/claim", body).problem(422, codeInvalid, locations...)
	}
}

// TestClaimTasks_Wait makes a claim wait for a task that is created by the API, with
// a key and without.
func TestClaimTasks_Wait(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string][]string{"Plain": nil, "Keyed": {"Idempotency-Key", "k"}} {
		for path, body := range map[string]string{"/v1/tasks": `{"name":"n"}`, "/v1/tasks/bulk-create": `[{"name":"n"}]`} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				c := newClient(t)
				answered := make(chan *answer, 1)
				go func() { answered <- c.do("POST", "/v1/tasks/claim", `{"worker":"w","wait_seconds":30}`) }()
				c.do("POST", path, body, headers...).want(201)
				var got TasksClaimed
				(<-answered).want(200).into(&got)
				if len(got.Items) != 1 {
					t.Errorf("%+v, want one task", got)
				}
			})
		}
	}
}

// TestCreateTask_RunAt checks that every time that a request may have can also be returned.
func TestCreateTask_RunAt(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for at, want := range map[string]int{
		"9999-12-31T23:59:59.999999Z": 201, "0000-01-01T00:00:00Z": 201, "2026-01-31T12:00:00+05:30": 201,
		"9999-12-31T23:59:59-00:01": 422, "0000-01-01T00:00:00+00:01": 422, "infinity": 422, "10000-01-01T00:00:00Z": 422, "0044-03-15T00:00:00Z BC": 422,
	} {
		one := c.do("POST", "/v1/tasks", `{"name":"a","run_at":"`+at+`"}`)
		many := c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"a","run_at":"`+at+`"}]`)
		if want == 422 {
			one.problem(422, codeInvalid, "body.run_at")
			many.problem(422, codeInvalid, "body[1].run_at")
			continue
		}
		one.want(201)
		many.want(201)
	}
	c.get("/v1/tasks")
}

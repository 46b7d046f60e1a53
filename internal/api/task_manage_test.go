package api

import (
	"fmt"
	"testing"
	"time"
)

// taskClient is a client with short names for the operations on tasks.
type taskClient struct{ *client }

func (c taskClient) create(body string) int64 {
	c.t.Helper()
	var task Task
	c.do("POST", "/v1/tasks", body).want(201).into(&task)
	return task.ID
}

func (c taskClient) claim(body string) []Task {
	c.t.Helper()
	var got TasksClaimed
	c.do("POST", "/v1/tasks/claim", body).want(200).into(&got)
	return got.Items
}

func (c taskClient) act(id int64, act, body string) *answer {
	c.t.Helper()
	return c.do("POST", fmt.Sprintf("/v1/tasks/%d/%s", id, act), body)
}

func TestClaimTasks_Name(t *testing.T) {
	t.Parallel()
	c := taskClient{newClient(t)}
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"a"}]`).want(201)
	for _, test := range []struct {
		name string
		want []int64
	}{{`"none"`, nil}, {`"b"`, []int64{2}}, {`["a","c"]`, []int64{1, 3, 4}}, {`["a","b","c"]`, nil}} {
		got := c.claim(`{"worker":"w","limit":10,"name":` + test.name + `}`)
		var ids []int64
		for _, task := range got {
			ids = append(ids, task.ID)
		}
		if fmt.Sprint(ids) != fmt.Sprint(test.want) {
			t.Errorf("claimed %v by %s, want %v", ids, test.name, test.want)
		}
	}
	// A claim that waits for its name gets the task, even if others wait for another name.
	answered := make(map[string]chan *answer)
	for _, name := range []string{"d", "e"} {
		one := make(chan *answer, 1)
		answered[name] = one
		go func() {
			one <- c.do("POST", "/v1/tasks/claim", `{"worker":"w","wait_seconds":30,"name":"`+name+`"}`)
		}()
	}
	for _, name := range []string{"e", "d"} {
		id := c.create(`{"name":"` + name + `"}`)
		var got TasksClaimed
		(<-answered[name]).want(200).into(&got)
		if len(got.Items) != 1 || got.Items[0].ID != id {
			t.Errorf("%s: claimed %+v, want task %d", name, got, id)
		}
	}
}

func TestCancelTask(t *testing.T) {
	t.Parallel()
	c := taskClient{newClient(t)}
	var task Task
	pending := c.create(`{"name":"n"}`)
	for range 2 {
		c.act(pending, "cancel", "").want(200).into(&task)
		if task.Status != "cancelled" || task.Attempts != 0 || task.LeaseUntil != nil {
			t.Errorf("cancelled: %+v", task)
		}
	}
	if got := c.claim(`{"worker":"w"}`); len(got) != 0 {
		t.Errorf("claimed %+v, which is cancelled", got)
	}
	running := c.create(`{"name":"n"}`)
	c.claim(`{"worker":"w"}`)
	c.act(running, "cancel", "").want(200).into(&task)
	if task.Status != "cancelled" || *task.Worker != "w" || task.LeaseUntil != nil {
		t.Errorf("cancelled: %+v", task)
	}
	for _, act := range []string{"extend", "complete", "fail", "release"} {
		c.act(running, act, `{"worker":"w","attempts":1}`).problem(409, codeLeaseLost)
	}
	for act, body := range map[string]string{"complete": `{"worker":"w","attempts":1}`, "fail": `{"worker":"w","attempts":1,"retry":false}`} {
		id := c.create(`{"name":"n"}`)
		c.claim(`{"worker":"w"}`)
		c.act(id, act, body).want(200)
		c.act(id, "cancel", "").problem(409, codeTaskStatus)
	}
	c.act(99, "cancel", "").problem(404, codeNotFound)
	c.do("GET", "/v1/tasks?status=cancelled", "").want(200)
}

func TestRetryTask(t *testing.T) {
	t.Parallel()
	c := taskClient{newClient(t)}
	var task Task
	// The only attempt has failed, and the task gets another one.
	failed := c.create(`{"name":"n","max_attempts":1}`)
	c.claim(`{"worker":"w"}`)
	c.act(failed, "retry", "").problem(409, codeTaskStatus)
	c.act(failed, "fail", `{"worker":"w","attempts":1,"error":"broken"}`).want(200).into(&task)
	if task.Status != "failed" {
		t.Fatalf("its only attempt failed: %+v", task)
	}
	for range 2 {
		c.act(failed, "retry", "").want(200).into(&task)
		if task.Status != "pending" || task.MaxAttempts != 2 || task.Attempts != 1 || *task.LastError != "broken" {
			t.Errorf("retried: %+v", task)
		}
	}
	got := c.claim(`{"worker":"w"}`)
	if len(got) != 1 || got[0].ID != failed || got[0].Attempts != 2 {
		t.Fatalf("claimed %+v, want task %d at its second attempt", got, failed)
	}
	// The lease of the first attempt differs from that of the second.
	c.act(failed, "complete", `{"worker":"w","attempts":1}`).problem(409, codeLeaseLost)
	c.act(failed, "complete", `{"worker":"w","attempts":2}`).want(200)
	c.act(failed, "retry", "").problem(409, codeTaskStatus)

	cancelled := c.create(`{"name":"n"}`)
	c.act(cancelled, "cancel", "").want(200)
	c.act(cancelled, "retry", "").want(200).into(&task)
	if task.Status != "pending" || task.MaxAttempts != 10 {
		t.Errorf("retried: %+v", task)
	}
	// A task that is due later becomes due now.
	later := c.create(`{"name":"later","run_at":"2099-01-01T00:00:00Z"}`)
	c.act(later, "retry", "").want(200).into(&task)
	if task.RunAt.After(time.Now().Add(time.Minute)) {
		t.Errorf("retried: due at %v", task.RunAt)
	}
	c.act(99, "retry", "").problem(404, codeNotFound)
}

func TestDeleteTask(t *testing.T) {
	t.Parallel()
	c := taskClient{newClient(t)}
	path := func(id int64) string { return fmt.Sprintf("/v1/tasks/%d", id) }
	for _, end := range []string{"", "complete", "fail", "cancel"} {
		id := c.create(`{"name":"n","max_attempts":1}`)
		if end != "" {
			c.claim(`{"worker":"w"}`)
			c.do("DELETE", path(id), "").problem(409, codeTaskStatus)
			c.db.Exec(t, "UPDATE tasks SET lease_until = now() - interval '1 h' WHERE id = $1", id)
			c.do("DELETE", path(id), "").problem(409, codeTaskStatus)
			body := `{"worker":"w","attempts":1}`
			if end == "cancel" {
				body = ""
			}
			c.act(id, end, body).want(200)
		}
		if a := c.do("DELETE", path(id), "").want(204); a.body != "" {
			t.Errorf("deleted: %s", a.body)
		}
		c.do("GET", path(id), "").problem(404, codeNotFound)
		c.do("DELETE", path(id), "").problem(404, codeNotFound)
	}
}

func TestReleaseTask(t *testing.T) {
	t.Parallel()
	c := taskClient{newClient(t)}
	id := c.create(`{"name":"n","max_attempts":1}`)
	for attempts := int32(1); attempts < 4; attempts++ {
		got := c.claim(`{"worker":"w"}`)
		if len(got) != 1 || got[0].Attempts != attempts || got[0].MaxAttempts != attempts {
			t.Fatalf("claimed %+v, want task %d at attempt %d", got, id, attempts)
		}
		lease := fmt.Sprintf(`{"worker":"w","attempts":%d}`, attempts)
		var task Task
		for range 2 {
			c.act(id, "release", lease).want(200).into(&task)
			if task.Status != "pending" || task.MaxAttempts != attempts+1 || task.LeaseUntil != nil || !task.RunAt.Equal(task.UpdatedAt) {
				t.Errorf("released: %+v", task)
			}
		}
		c.act(id, "complete", lease).problem(409, codeLeaseLost)
	}
}

// TestFailTask_Backoff fails each attempt of a task. The task is due later after each of them,
// and has failed when its attempts are used up.
func TestFailTask_Backoff(t *testing.T) {
	t.Parallel()
	c := taskClient{newClient(t)}
	id := c.create(`{"name":"n","max_attempts":6}`)
	for attempts := int32(1); attempts <= 6; attempts++ {
		c.db.Exec(t, "UPDATE tasks SET run_at = now()")
		if got := c.claim(`{"worker":"w"}`); len(got) != 1 {
			t.Fatalf("claimed %+v, want the task", got)
		}
		var task Task
		c.act(id, "fail", fmt.Sprintf(`{"worker":"w","attempts":%d,"error":"no %[1]d"}`, attempts)).want(200).into(&task)
		if *task.LastError != fmt.Sprint("no ", attempts) {
			t.Errorf("the error is %q", *task.LastError)
		}
		if attempts == 6 {
			if task.Status != "failed" {
				t.Errorf("after its last attempt: %+v, want it failed", task)
			}
			break
		}
		low := time.Second << (attempts - 1)
		if wait := task.RunAt.Sub(task.UpdatedAt); task.Status != "pending" || wait < low || wait > low*3/2 {
			t.Errorf("after attempt %d: %s, due after %v: want it pending, and due after %v or up to half as long again", attempts, task.Status, wait, low)
		}
	}

	// Tasks that failed together must not become due together.
	c.do("POST", "/v1/tasks/bulk-create", `[{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"},{"name":"a"}]`).want(201)
	waits := make(map[time.Duration]bool)
	for _, task := range c.claim(`{"worker":"w","name":"a","limit":8}`) {
		c.act(task.ID, "fail", `{"worker":"w","attempts":1}`).want(200).into(&task)
		waits[task.RunAt.Sub(task.UpdatedAt)] = true
	}
	if len(waits) < 7 {
		t.Errorf("eight tasks wait %d different times: %v", len(waits), waits)
	}
}

package api

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"quern/internal/storetest"
)

// TestBodyRoom sends a large body while another one has reserved all the memory for bodies and
// stalls.
func TestBodyRoom(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	s := newServer(Config{Queries: d.Queries, Store: d.Store, Logger: textLogger(&logged{}), BodyMemory: 64 << 10})
	s.bodies.read.wait = 50 * time.Millisecond
	c := &client{t: t, db: d, url: serve(t, s.handler(s.entrance(Entrance{}, true)))}
	u := d.CreateUser(t)
	path := "/v1/users/1/posts"
	if u.ID != 1 {
		t.Fatalf("user %d, want 1", u.ID)
	}
	post := func(length int) string { return `{"title":"t","content":"` + strings.Repeat("x", length) + `"}` }
	r, w := io.Pipe()
	stalled := make(chan int, 1)
	go func() {
		resp, err := http.Post(c.url+path, "application/json", r)
		if err != nil {
			stalled <- 0
			return
		}
		resp.Body.Close()
		stalled <- resp.StatusCode
	}()
	if _, err := io.WriteString(w, post(20_000)[:10_000]); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.bodies.under.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the stalled body is not read")
		}
	}
	a := c.do("POST", path, post(20_000))
	a.problem(503, codeOverloaded)
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("%v, want Retry-After", a.header)
	}
	// Small bodies reserve no memory.
	c.do("POST", path, post(1000)).want(201)
	if _, err := io.WriteString(w, post(20_000)[10_000:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if status := <-stalled; status != 201 {
		t.Errorf("the stalled one: %d", status)
	}
	// Shortly after each response, all of the memory is available again.
	for range 3 {
		a := c.do("POST", path, post(500_000))
		for deadline := time.Now().Add(time.Minute); a.status == 503 && time.Now().Before(deadline); {
			a = c.do("POST", path, post(500_000))
		}
		a.want(201)
	}
	if n := d.Count(t, "SELECT count(*) FROM posts"); n != 5 {
		t.Errorf("%d posts, want 5: what was refused is not applied", n)
	}
}

// TestManyFaults sends lists with more faults than an answer lists.
func TestManyFaults(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for name, items := range map[string]string{
		"Items": strings.Repeat("{},", 9_000) + "{}",
		"Tags":  strings.Repeat(`{"id":1,"tags":[`+strings.Repeat("1,", 5_000)+"1]},", 200) + "{}",
	} {
		a := c.do("PATCH", "/v1/users", "["+items+"]").want(422)
		var p Problem
		a.into(&p)
		if len(p.Errors) != maxFieldErrors || !strings.Contains(p.Detail, "more") {
			t.Errorf("%s: %d errors, %s", name, len(p.Errors), p.Detail)
		}
	}
	for name, body := range map[string]string{
		"Long":   "[" + strings.Repeat("{},", 2_000_000) + "{}]",
		"Nested": `[{"id":1,"tags":[` + strings.Repeat("[],", 1_000_000) + `[]]}]`,
	} {
		if p := c.do("PATCH", "/v1/users", body).problem(422, codeInvalid, "body"); p.Errors[0].Message != "expected array length <= 10000" {
			t.Errorf("%s: %+v", name, p.Errors)
		}
	}
}

func TestShapeOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]shape{
		"":                           {},
		`{}`:                         {values: 1, longest: 0},
		`[1,2,3]`:                    {values: 3, top: 3, longest: 3},
		`[{"a":[1,2,3,4],"b":","}]`:  {values: 7, top: 1, longest: 4},
		`["\",[","\\",[["]"]]]`:      {values: 5, top: 3, longest: 3},
		`]]}}[`:                      {values: 1},
		`"unclosed [,`:               {},
		`{"a":{"b":[[],[]]},"c":[]}`: {values: 8, longest: 2},
	} {
		if got := shapeOf([]byte(text)); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

package api

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"quern/internal/db"
)

// Each act of an operator logs who did what, also at the highest log level.
func TestAudit(t *testing.T) {
	t.Parallel()
	log := &logged{}
	g := newGuarded(t, func(c *Config) {
		c.Logger = slog.New(LogHandler(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})))
	})
	var task Task
	g.with(g.write, "POST", "/v1/tasks", `{"name":"a"}`).want(201).into(&task)
	path := fmt.Sprintf("/v1/tasks/%d", task.ID)
	target := fmt.Sprintf("task %d", task.ID)
	csv := []string{"Content-Type", "text/csv"}
	cookie := []string{"Cookie", sessionCookie + "=" + g.operate}
	for _, test := range []struct {
		token, method, path, body string
		headers                   []string
		want                      string // of the audit line; empty for none
	}{
		{g.write, "POST", path + "/cancel", "", nil, `act=cancel who="token \d+ \(of write\)" target="` + target + `" outcome=done status=200`},
		{g.operate, "POST", path + "/retry", "", nil, `act=retry who="token \d+ \(of operate\)" target="` + target + `" outcome=done status=200`},
		{"", "DELETE", path, "", cookie, `act=delete who="token \d+ \(of operate\)" target="` + target + `" outcome=done status=204`},
		{g.write, "POST", path + "/cancel", "", nil, `act=cancel .* outcome=refused status=404`},
		{g.write, "POST", "/v1/users/import", "username,email\nbob,b@x\n", csv, `act=import who="token \d+ \(of write\)" target=users outcome=done status=200`},
		{g.write, "POST", "/v1/users/import", "nothing\n", csv, `act=import .* target=users outcome=refused status=400`},
		{g.operate, "POST", "/console/api/plans", "", nil, `act=console who="token \d+ \(of operate\)" target="POST /console/api/plans" outcome=done status=200`},
		{g.write, "POST", "/console/api/plans", "", nil, `act=console who="token \d+ \(of write\)" .* outcome=refused status=403`},
		{"", "POST", sessionPath, `{"token":"` + g.operate + `"}`, nil, `act="sign in" who="token \d+ \(of operate\)" target=console outcome=done status=200`},
		{"", "POST", sessionPath, `{"token":"` + g.read + `"}`, nil, `act="sign in" who="token \d+ \(of read\)" target=console outcome=refused status=403`},
		{"", "POST", sessionPath, `{"token":"quern_x"}`, nil, ""},
		{g.write, "POST", "/v1/users", newBob, nil, ""},
		{g.operate, "GET", "/console/api/overview", "", nil, ""},
		{"", "POST", path + "/cancel", "", nil, ""},
	} {
		before := log.String()
		headers := append([]string{"X-Request-Id", "of-the-test"}, test.headers...)
		if test.token != "" {
			headers = append(headers, "Authorization", "Bearer "+test.token)
		}
		g.do(test.method, test.path, test.body, headers...)
		said := strings.TrimPrefix(log.String(), before)
		want := `^\S+ level=INFO msg=audit ` + test.want + ` remote=127\.0\.0\.1:\d+ request_id=of-the-test\n$`
		if test.want == "" {
			want = "^$"
		}
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("%s %s logs %q, want %q", test.method, test.path, said, want)
		}
	}
	// Without tokens it still logs what was done, and from where.
	open := newClient(t)
	open.do("POST", "/v1/tasks/7/cancel", "").want(404)
	if said := open.log.String(); !strings.Contains(said, `act=cancel who="no token" target="task 7" outcome=refused status=404 remote=127.0.0.1:`) {
		t.Errorf("it logs %q", said)
	}
}

type userParams = db.CreateUserParams

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/storetest"
)

// A role with the GRANTs that doctor prints, or those of docs/operations.md, can
// do everything.
func TestDoctor_Grants(t *testing.T) {
	t.Parallel()
	printed := regexp.MustCompile(`(?m)^  wrong +role app_\w+ lacks .*: (GRANT .*)$`)
	t.Run("Printed", func(t *testing.T) {
		t.Parallel()
		r := newGrantee(t)
		out := r.doctor(t, false)
		grants := printed.FindAllStringSubmatch(out, -1)
		if len(grants) == 0 {
			t.Fatalf("doctor prints no GRANT:\n%s", out)
		}
		for _, g := range grants {
			r.own(t, g[1])
		}
		r.works(t)
	})
	t.Run("Documented", func(t *testing.T) {
		t.Parallel()
		text, err := os.ReadFile("../../docs/operations.md")
		if err != nil {
			t.Fatal(err)
		}
		r := newGrantee(t)
		for _, g := range regexp.MustCompile(`(?m)^GRANT .* TO app;$`).FindAllString(string(text), -1) {
			r.own(t, strings.Replace(g, "TO app;", "TO "+r.role, 1))
		}
		r.works(t)
	})
	// Only the tables are granted, as an operator might do it.
	t.Run("NoSequences", func(t *testing.T) {
		t.Parallel()
		r := newGrantee(t)
		r.own(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+r.role)
		out := r.doctor(t, false)
		if !strings.Contains(out, "GRANT USAGE, UPDATE ON SEQUENCE public.users_id_seq TO "+r.role) || strings.Contains(out, "ON TABLE") {
			t.Errorf("it wants other grants than those of the sequences:\n%s", out)
		}
	})
	t.Run("NoSchema", func(t *testing.T) {
		t.Parallel()
		r := newGrantee(t)
		r.own(t, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
		if out := r.doctor(t, false); !strings.Contains(out, "GRANT USAGE ON SCHEMA public TO "+r.role) || strings.Contains(out, "CREATE SCHEMA") {
			t.Errorf("it does not ask for the schema:\n%s", out)
		}
	})
}

// grantee is a role without privileges on a migrated database.
type grantee struct {
	role, url string
	owner     *pgx.Conn
}

func newGrantee(t *testing.T) *grantee {
	t.Helper()
	r := newRole(t, storetest.NewURL(t))
	r.own(t, "CREATE ROLE "+r.role+" LOGIN PASSWORD 'x'")
	return r
}

// newRole returns the name of a role for a database, which the test then creates. It is
// dropped at the end.
func newRole(t *testing.T, address string) *grantee {
	t.Helper()
	owner, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	r := &grantee{role: "app_" + strings.ToLower(rand.Text()[:8]), owner: owner}
	t.Cleanup(func() {
		for _, sql := range []string{"DROP OWNED BY " + r.role, "DROP ROLE " + r.role} {
			if _, err := owner.Exec(context.WithoutCancel(t.Context()), sql); err != nil {
				t.Error(err)
			}
		}
		owner.Close(context.WithoutCancel(t.Context()))
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(r.role, "x")
	r.url = u.String()
	return r
}

// own runs SQL as the owner of the database.
func (r *grantee) own(t *testing.T, sql string) {
	t.Helper()
	if _, err := r.owner.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// doctor returns the output of doctor, and checks that it finds no problem if and only if well
// is true.
func (r *grantee) doctor(t *testing.T, well bool) string {
	t.Helper()
	c := command(t, t.TempDir(), []string{"DATABASE_URL=" + r.url, "MIGRATE=false"}, "doctor")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); (err == nil) != well {
		t.Errorf("doctor: %v: %s\n%s", err, c.stderr, out.String())
	}
	return out.String()
}

// works checks that the service works for the role.
func (r *grantee) works(t *testing.T) {
	t.Helper()
	r.doctor(t, true)
	p := serve(t, t.TempDir(), "DATABASE_URL="+r.url, "MIGRATE=false")
	p.await(t, "/readyz", http.StatusOK)
	for _, c := range []struct{ method, path, kind, body string }{
		{"POST", "/v1/users", "application/json", `{"username":"ann","email":"a@x","posts":[{"title":"t","content":""}]}`},
		{"POST", "/v1/users/import", "text/csv", "id,username,email\n77,bob,b@x\n"},
		{"POST", "/v1/users", "application/json", `{"username":"cy","email":"c@x"}`},
		{"POST", "/v1/users/77/posts", "application/json", `{"title":"t","content":""}`},
		{"POST", "/v1/posts/import", "application/x-ndjson", `{"id":99,"user_id":77,"title":"t","content":""}` + "\n"},
		{"POST", "/v1/tasks", "application/json", `{"name":"greet","payload":{}}`},
		{"POST", "/v1/tasks/claim", "application/json", `{"worker":"w","limit":1,"lease_seconds":60}`},
		{"PATCH", "/v1/users/77", "application/merge-patch+json", `{"age":3}`},
		{"GET", "/v1/users?include=posts", "", ""},
		{"GET", "/v1/users/export", "", ""},
		{"GET", "/v1/stats/users", "", ""},
		{"DELETE", "/v1/users/77", "", ""},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, p.base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Idempotency-Key", c.method+c.path+strconv.Itoa(len(c.body)))
		if c.kind != "" {
			request.Header.Set("Content-Type", c.kind)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode >= 300 {
			t.Errorf("%s %s: %s: %s (%v)", c.method, c.path, response.Status, body, err)
		}
	}
}

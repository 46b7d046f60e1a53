package pgconsole_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgconsole"
	"quern/postgres/testdata"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var _ postgres.Observer = (*pgconsole.Console)(nil)

// A program that imports the runtime mounts the page, which shows its statements.
func TestMount(t *testing.T) {
	t.Parallel()
	console := pgconsole.New(pgconsole.Options{Name: "shop"})
	defer console.Close()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), Observers: []postgres.Observer{console}})
	_, _ = d.Queries.GetAccount(t.Context(), -1)
	mux := http.NewServeMux()
	mux.Handle("/console/", console.Handler())

	page := httptest.NewRecorder()
	mux.ServeHTTP(page, httptest.NewRequest("GET", "/console/", nil))
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "<main") {
		t.Errorf("the page is %d %s", page.Code, page.Body)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/console/api/statements/GetAccount", nil))
	var one struct{ Calls int }
	if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil || one.Calls != 1 {
		t.Errorf("the statement is %s (%v)", w.Body, err)
	}
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/console/api/overview", nil))
	if text := w.Body.String(); !strings.Contains(text, `"name":"shop"`) || !strings.Contains(text, `"service":false`) {
		t.Errorf("the overview is %s", text)
	}
}

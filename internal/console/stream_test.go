package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quern/postgres"
	"quern/postgres/testdata"
)

// A stream ends after its life and asks the page to begin another one, which is authorized
// again.
func TestEvents_Life(t *testing.T) {
	t.Parallel()
	observer := NewObserver()
	testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), Observers: []postgres.Observer{observer}})
	c := New(Config{Observer: observer})
	defer c.Close()
	c.streamLife = 0
	server := httptest.NewServer(c.Handler())
	defer server.Close()
	response, err := http.Get(server.URL + "/console/api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.HasSuffix(string(text), "event: again\ndata: {}\n\n") {
		t.Errorf("the stream is %q (%v)", text, err)
	}
}

package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

// BenchmarkTick measures what the console costs each second: without a page, and with pages
// that are open. The service has 80 statements, which all ran.
func BenchmarkTick(b *testing.B) {
	for name, pages := range map[string]int{"closed": 0, "open": 1} {
		b.Run(name, func(b *testing.B) {
			observer := NewObserver()
			d := testdata.Open(b, postgres.Config{URL: testdata.NewURL(b), Observers: []postgres.Observer{observer}})
			for i := range 80 {
				observer.StatementEnded(b.Context(), postgres.StatementEnd{Statement: &postgres.Statement{Name: string(rune('a' + i))}, Duration: time.Millisecond})
			}
			c := New(Config{Observer: observer})
			defer c.Close()
			c.health.next = time.Now().Add(time.Hour)
			for range pages {
				c.streams[make(chan []byte, 1)] = true
			}
			var now totals
			b.ReportAllocs()
			for b.Loop() {
				observer.read(&now)
				state := d.Router.Snapshot()
				c.sample(d.Router, &now, &state)
			}
		})
	}
}

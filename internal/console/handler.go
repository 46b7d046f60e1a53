package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"quern/postgres"
)

// apiTimeout bounds a request for data. A locked table ends it, too.
const apiTimeout = 10 * time.Second

// routes adds the routes. Each is below /console/, except for the page itself.
func (c *Console) routes() {
	c.mux = http.NewServeMux()
	c.registerAssets()
	c.data("GET /console/api/overview", c.getOverview)
	c.data("GET /console/api/statements", c.getStatements)
	c.data("GET /console/api/statements/{name}", c.getStatement)
	c.data("GET /console/api/statements/{name}/plan", c.getPlan)
	c.data("GET /console/api/plans", c.getPlans)
	c.data("POST /console/api/plans", c.checkPlans)
	c.data("GET /console/api/in-flight", c.getInFlight)
	c.data("POST /console/api/in-flight/{id}/cancel", c.cancel)
	c.data("GET /console/api/migrations", c.getMigrations)
	c.data("GET /console/api/tables", c.getTables)
	c.mux.HandleFunc("GET /console/api/events", c.getEvents)
	c.mux.HandleFunc("/console/api/", func(w http.ResponseWriter, _ *http.Request) {
		(&Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "There is no such route."}).write(w)
	})
}

// data adds a route that needs a Router and ends within apiTimeout.
func (c *Console) data(pattern string, handle func(http.ResponseWriter, *http.Request, *postgres.Router)) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		router := c.Observer.router.Load()
		if router == nil {
			problemOf(errNotConnected).write(w)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), apiTimeout)
		defer cancel()
		handle(w, r.WithContext(ctx), router)
	})
}

var errNotConnected = errors.New("the program has not connected to its database yet")

// Page serves the page, which is meant for /. Handler serves everything below /console/.
func (c *Console) Page() http.Handler { return c.asset("index.html") }

// Handler serves /console/: the files of the page, and the data below /console/api/. Requests
// that write are rejected if a page of another site sent them.
func (c *Console) Handler() http.Handler {
	return http.NewCrossOriginProtection().Handler(c.mux)
}

// Problem is a response to a request that failed (RFC 9457).
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// problemOf explains an error of the database. Errors of the runtime and its diagnoses
// contain neither arguments nor passwords.
func problemOf(err error) *Problem {
	p := &Problem{Title: "Service Unavailable", Status: http.StatusServiceUnavailable, Detail: err.Error()}
	if d := postgres.Diagnose(err); d.Hint != "" {
		p.Detail, p.Hint = d.What, d.Hint
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, postgres.ErrTimeout) {
		p.Title, p.Status, p.Detail = "Gateway Timeout", http.StatusGatewayTimeout, "the database did not answer in time"
	}
	return p
}

func (p *Problem) write(w http.ResponseWriter) {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // it has only strings and a number
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) // the client may have closed the connection
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("console: " + err.Error()) // a NaN, which no value can be
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // the client may have closed the connection
}

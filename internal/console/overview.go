package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"quern/postgres"
)

// Overview is the state of the runtime. It comes from memory, so it is also served while no
// database answers.
type Overview struct {
	Name          string    `json:"name"`
	Version       string    `json:"version"`
	Service       bool      `json:"service"`
	SignIn        bool      `json:"sign_in"`
	At            time.Time `json:"at"`
	UptimeSeconds int64     `json:"uptime_seconds"`

	Database Health   `json:"database"`
	Now      Sample   `json:"now"`
	Samples  []Sample `json:"samples,omitempty"` // of the last 10 minutes, oldest first; not in the stream

	Coalescing     Coalescing        `json:"coalescing"`
	Retries        uint64            `json:"retries"`
	Doubts         map[string]uint64 `json:"in_doubt"` // writes whose answer was lost, by outcome
	CommitsWaiting int               `json:"commits_waiting_for_standby"`

	Servers []Server `json:"servers"`
	Hosts   []Host   `json:"hosts"`
	Events  []Event  `json:"events"`
}

// Coalescing counts since the start.
type Coalescing struct {
	Calls   uint64 `json:"calls"`
	Batches uint64 `json:"batches"`
}

// Server is the primary or a replica, with its pool.
type Server struct {
	Name     string  `json:"name"`
	Replica  bool    `json:"replica"`
	Up       bool    `json:"up"`
	Primary  bool    `json:"primary"` // also of a replica that is the primary now
	Problem  string  `json:"problem"`
	Lag      float64 `json:"lag_seconds"`
	Timeline int64   `json:"timeline"`

	Max     int32   `json:"max"` // connections
	Total   int32   `json:"total"`
	InUse   int32   `json:"in_use"`
	Idle    int32   `json:"idle"`
	Opening int32   `json:"opening"`
	Waits   int64   `json:"waits"`        // acquisitions that had to wait, since the start
	Waited  float64 `json:"wait_seconds"` // by all of them together
	Classes []Class `json:"classes"`
}

// Class is the share of a pool that a class of statements has.
type Class struct {
	Name    string `json:"name"`
	Limit   int    `json:"limit"`
	Used    int    `json:"used"`
	Waiting int    `json:"waiting"`
	Refused uint64 `json:"refused"` // calls that got no connection, since the start
}

// Host is a host of a connection string that names several.
type Host struct {
	Name     string `json:"name"`
	Answers  bool   `json:"answers"`
	Timeline int64  `json:"timeline"` // 0 for a standby
}

func (c *Console) overview(router *postgres.Router, state *postgres.Snapshot, history bool) *Overview {
	o := c.Observer
	v := &Overview{
		Name: c.Name, Version: c.Version, Service: c.Service, SignIn: c.SignIn, At: time.Now().UTC(), UptimeSeconds: int64(time.Since(c.start).Seconds()),
		Database: c.health.get(), Coalescing: Coalescing{o.coalesced.Load(), o.batches.Load()}, Retries: o.retries.Load(),
		CommitsWaiting: state.CommitsWaiting, Servers: []Server{}, Hosts: []Host{}, Events: []Event{},
	}
	o.mu.Lock()
	v.Doubts = maps.Clone(o.doubts)
	o.mu.Unlock()
	for _, s := range state.Servers {
		v.Servers = append(v.Servers, serverOf(s, v.Database))
	}
	for _, h := range state.Hosts {
		v.Hosts = append(v.Hosts, Host(h))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v.Now = c.samples.newest()
	if history {
		v.Samples = c.samples.list()
	}
	v.Events = append(v.Events, c.events...)
	return v
}

func serverOf(s postgres.ServerState, database Health) Server {
	v := Server{
		Name: s.Name, Replica: s.Replica, Up: s.Up, Primary: s.Primary, Problem: s.Problem, Lag: s.Lag.Seconds(), Timeline: s.Timeline,
		Max: s.Pool.MaxConns(), Total: s.Pool.TotalConns(), InUse: s.Pool.AcquiredConns(), Idle: s.Pool.IdleConns(),
		Opening: s.Pool.ConstructingConns(), Waits: s.Pool.EmptyAcquireCount(), Waited: s.Pool.EmptyAcquireWaitTime().Seconds(),
	}
	if !s.Replica && !database.OK {
		v.Up, v.Problem = false, database.Problem
	}
	for _, class := range s.Classes {
		v.Classes = append(v.Classes, Class(class))
	}
	return v
}

// Health is whether the database answers. It is checked while a page is open.
type Health struct {
	OK      bool       `json:"ok"`
	Problem string     `json:"problem"`
	Hint    string     `json:"hint"`
	Since   time.Time  `json:"since"`    // when it began to answer, or stopped
	NextTry *time.Time `json:"next_try"` // null if it answers
}

const (
	// healthTimeout bounds one check. It is the same as of a readiness probe.
	healthTimeout = time.Second

	// healthInterval is the time between two checks while the database answers. While it does
	// not, they are less frequent each time, up to healthMost.
	healthInterval = 2 * time.Second
	healthMost     = 5 * time.Second
)

// health is the result of the last check.
type health struct {
	mu       sync.Mutex
	state    Health
	checking bool
	failures int
	next     time.Time
}

func (h *health) get() Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// check starts a check in the background if it is time for it.
func (h *health) check(ctx context.Context, group *sync.WaitGroup, router *postgres.Router) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checking || time.Now().Before(h.next) {
		return
	}
	h.checking = true
	group.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, healthTimeout)
		defer cancel()
		h.set(router.Ready(ctx))
	})
}

// await checks now, unless the last check is still valid. A program that asks for the JSON has
// no stream, which would keep it valid.
func (h *health) await(ctx context.Context, router *postgres.Router) {
	h.mu.Lock()
	due := !h.checking && !time.Now().Before(h.next)
	h.checking = h.checking || due
	h.mu.Unlock()
	if due {
		ctx, cancel := context.WithTimeout(ctx, healthTimeout)
		defer cancel()
		h.set(router.Ready(ctx))
	}
}

func (h *health) set(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UTC()
	h.checking = false
	if err == nil {
		if !h.state.OK {
			h.state = Health{OK: true, Since: now}
		}
		h.failures, h.next = 0, now.Add(healthInterval)
		return
	}
	h.failures++
	h.next = now.Add(min(healthMost, time.Duration(h.failures)*time.Second))
	problem := problemOf(err)
	since := h.state.Since
	if h.state.OK {
		since = now
	}
	next := h.next
	h.state = Health{Problem: problem.Detail, Hint: problem.Hint, Since: since, NextTry: &next}
}

func (c *Console) getOverview(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	c.health.await(r.Context(), router)
	state := router.Snapshot()
	writeJSON(w, c.overview(router, &state, true))
}

// streamLife is how long a stream lasts. The page begins another one, so a token that was
// revoked meanwhile is noticed. While the database is down, no token could be verified, and
// the stream that was let in stays.
const streamLife = time.Minute

// streamPatience is how long a client may read nothing before its stream ends.
const streamPatience = 15 * time.Second

// getEvents sends the overview once a second as a server-sent event
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (c *Console) getEvents(w http.ResponseWriter, r *http.Request) {
	stream := make(chan []byte, 1)
	c.mu.Lock()
	c.streams[stream] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.streams, stream)
	}()
	on := http.NewResponseController(w)
	// The server's read timeout would end the request, which has been read.
	_ = on.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would collect the events
	began := time.Now()
	_, err := fmt.Fprint(w, "retry: 1000\n\n")
	for err == nil {
		_ = on.SetWriteDeadline(time.Now().Add(streamPatience))
		if err = on.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-c.closing.Done():
			return
		case text := <-stream:
			if time.Since(began) > c.streamLife && c.health.get().OK {
				_, _ = fmt.Fprint(w, "event: again\ndata: {}\n\n")
				return
			}
			_, err = fmt.Fprintf(w, "event: overview\ndata: %s\n\n", text)
		}
	}
}

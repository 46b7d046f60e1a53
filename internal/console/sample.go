package console

import (
	"encoding/json"
	"time"

	"quern/postgres"
)

const (
	// tickInterval is the resolution of the plots. Reading the counters takes some
	// microseconds, so the clock also runs while the page is closed: an operator who opens it
	// during an incident sees how it began.
	tickInterval = time.Second

	// keepSamples is how long the plots reach back: 10 minutes.
	keepSamples = 600

	// window is how many samples a quantile covers, because there may be few calls in a second.
	window = 5
)

// Sample is one second. Rates are per second. Quantiles cover the last 5 s.
type Sample struct {
	At              int64     `json:"at"` // Unix time
	Requests        float64   `json:"requests"`
	RequestErrors   float64   `json:"request_errors"`
	RequestTimes    Quantiles `json:"request_times"`
	Statements      float64   `json:"statements"`
	StatementErrors float64   `json:"statement_errors"`
	StatementTimes  Quantiles `json:"statement_times"`
	Retries         float64   `json:"retries"`
	Coalesced       float64   `json:"coalesced"` // calls
	Batches         float64   `json:"batches"`
	InUse           int32     `json:"in_use"` // connections of the primary's pool
	Idle            int32     `json:"idle"`
	Waiting         int       `json:"waiting"`
	Waits           float64   `json:"waits"`        // acquisitions that had to wait for a connection of it
	WaitSeconds     float64   `json:"wait_seconds"` // by them together
	Refused         float64   `json:"refused"`      // calls that got no connection of any pool
	Lag             *float64  `json:"lag_seconds"`  // of the replica that is furthest behind; null without a replica
}

// ring keeps the last samples.
type ring struct {
	samples [keepSamples]Sample
	n       int // samples that were ever added
	last    [window]totals
}

// list returns the samples, oldest first.
func (r *ring) list() []Sample {
	from := max(0, r.n-keepSamples)
	list := make([]Sample, 0, r.n-from)
	for i := from; i < r.n; i++ {
		list = append(list, r.samples[i%keepSamples])
	}
	return list
}

// newest returns the last sample.
func (r *ring) newest() Sample {
	if r.n == 0 {
		return Sample{}
	}
	return r.samples[(r.n-1)%keepSamples]
}

// add adds the sample between the totals of the last call and of now.
func (r *ring) add(now *totals, state *postgres.Snapshot) {
	before, first := &r.last[(r.n+window-1)%window], &r.last[r.n%window] // the latter is the oldest
	if r.n < window {
		first = &totals{}
	}
	if r.n == 0 {
		before = &totals{at: now.at.Add(-tickInterval)}
	}
	seconds := max(now.at.Sub(before.at).Seconds(), 0.001)
	per := func(now, before uint64) float64 { return float64(now-before) / seconds }
	s := Sample{
		At:              now.at.Unix(),
		Requests:        per(now.requests.total(), before.requests.total()),
		RequestErrors:   per(now.badAnswer, before.badAnswer),
		RequestTimes:    now.requests.minus(&first.requests).quantiles(),
		Statements:      per(now.statements.total(), before.statements.total()),
		StatementErrors: per(now.failed, before.failed),
		StatementTimes:  now.statements.minus(&first.statements).quantiles(),
		Retries:         per(now.retries, before.retries),
		Coalesced:       per(now.coalesced, before.coalesced),
		Batches:         per(now.batches, before.batches),
	}
	for _, server := range state.Servers {
		for _, class := range server.Classes {
			now.refused += class.Refused
		}
		switch {
		case !server.Replica:
			s.InUse, s.Idle = server.Pool.AcquiredConns(), server.Pool.IdleConns()
			now.waits, now.waited = uint64(server.Pool.EmptyAcquireCount()), uint64(server.Pool.EmptyAcquireWaitTime())
			s.Waits, s.WaitSeconds = per(now.waits, before.waits), per(now.waited, before.waited)/1e9
			for _, class := range server.Classes {
				s.Waiting += class.Waiting
			}
		case s.Lag == nil || server.Lag.Seconds() > *s.Lag:
			s.Lag = new(server.Lag.Seconds())
		}
	}
	s.Refused = per(now.refused, before.refused)
	r.samples[r.n%keepSamples] = s
	r.last[r.n%window] = *now
	r.n++
}

// minus returns the difference of counts.
func (c *counts) minus(before *counts) *counts {
	d := *c
	for i := range d {
		d[i] -= before[i]
	}
	return &d
}

// tick samples once a second, and sends the overview to the streams, until Close is called.
func (c *Console) tick() {
	clock := time.NewTicker(tickInterval)
	defer clock.Stop()
	var now totals
	for {
		select {
		case <-c.closing.Done():
			return
		case <-clock.C:
		}
		if router := c.Observer.router.Load(); router != nil {
			c.Observer.read(&now)
			state := router.Snapshot()
			c.sample(router, &now, &state)
		}
	}
}

// sample adds a sample. If there are streams, it also checks the database and sends the
// overview to them.
func (c *Console) sample(router *postgres.Router, now *totals, state *postgres.Snapshot) {
	c.mu.Lock()
	c.samples.add(now, state)
	c.remember(c.Observer.take())
	open := len(c.streams) > 0
	c.mu.Unlock()
	if !open {
		return
	}
	c.health.check(c.closing, &c.done, router)
	text, err := json.Marshal(c.overview(router, state, false))
	if err != nil {
		c.Logger.Error("the console's overview could not be encoded", "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for stream := range c.streams {
		select {
		case stream <- text:
		default: // it reads too slowly, and gets the next one
		}
	}
}

package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"quern/postgres"
)

// maxEvents is how many events are kept. A page shows the last ones.
const maxEvents = 100

// Event is a change that an operator may have to know about.
type Event struct {
	At      time.Time `json:"at"`
	Level   string    `json:"level"` // info, warn or error
	Message string    `json:"message"`
}

// note keeps an event until the next sample.
func (o *Observer) note(event postgres.Event) {
	level, message := describe(event)
	if message == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.events) < maxEvents {
		o.events = append(o.events, Event{time.Now().UTC(), level, message})
	}
}

// take returns the events since it was called last.
func (o *Observer) take() []Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := o.events
	o.events = nil
	return events
}

// describe returns what an event means. The message is empty if only its count matters.
func describe(event postgres.Event) (level, message string) {
	switch e := event.(type) {
	case postgres.RouterStarted:
		return "info", "connected"
	case postgres.CoalescingPaused:
		return "error", fmt.Sprintf("%s fails every time, so calls of %s run individually for %v: %v", e.Shared, e.Statement, e.Pause, e.Err)
	case postgres.DoubtEnded:
		if e.Outcome == "unknown" {
			return "error", "the outcome of a write is unknown"
		}
		return "warn", "the answer to a write was lost; it was found to be " + e.Outcome
	case postgres.ConnectEnded:
		if e.Err != nil {
			return "warn", fmt.Sprintf("no connection to %s: %s", e.Server, postgres.Diagnose(e.Err).What)
		}
	case postgres.ConnectionClosed:
		if e.Early {
			return "warn", fmt.Sprintf("a connection to %s was lost: %s", e.Server, e.Reason)
		}
	case postgres.PrimaryChanged:
		if e.TimelineBefore == 0 {
			return "", ""
		}
		if e.Timeline == e.TimelineBefore {
			return "warn", fmt.Sprintf("the primary was restarted or is another server, on timeline %d as before", e.Timeline)
		}
		return "warn", fmt.Sprintf("failover: the primary is on timeline %d now, before on %d", e.Timeline, e.TimelineBefore)
	case postgres.PrimaryBehind:
		return "error", fmt.Sprintf("the primary's address leads to timeline %d, below the highest one seen, %d: its writes may be lost", e.Timeline, e.Highest)
	case postgres.TimelineRaised:
		return "warn", fmt.Sprintf("all connections move to %s, which is the primary of timeline %d", e.Host, e.Timeline)
	case postgres.ReplicasChanged:
		var parts []string
		if len(e.Found) > 0 {
			parts = append(parts, "found "+strings.Join(e.Found, ", "))
		}
		if len(e.Forgotten) > 0 {
			parts = append(parts, "no longer listed: "+strings.Join(e.Forgotten, ", "))
		}
		return "info", "discovery of replicas: " + strings.Join(parts, "; ")
	case postgres.DiscoveryFailed:
		return "warn", fmt.Sprintf("replicas cannot be discovered, those that are known stay in use: %v", e.Err)
	case postgres.HostRefused:
		return "error", fmt.Sprintf("%s must not be written to: %s", e.Host, e.Problem)
	}
	return "", ""
}

// repeats is how far back a message is found again. In an outage the connections of three
// servers report two or three faults in turn, several times a second.
const repeats = 10

// remember adds events. A message that repeats one of the last ones replaces it, because each
// connection of a pool reports the same fault, and a failover must stay visible among them.
// c.mu must be held.
func (c *Console) remember(events []Event) {
	for _, e := range events {
		from := max(0, len(c.events)-repeats)
		if i := slices.IndexFunc(c.events[from:], func(x Event) bool { return x.Message == e.Message }); i >= 0 {
			c.events = slices.Delete(c.events, from+i, from+i+1)
		}
		c.events = append(c.events, e)
	}
	if n := len(c.events) - maxEvents; n > 0 {
		c.events = append(c.events[:0], c.events[n:]...)
	}
}

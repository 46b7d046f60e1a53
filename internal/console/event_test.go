package console

import (
	"testing"
	"time"
)

// Faults that connections report in turn do not hide a failover.
func TestEvents(t *testing.T) {
	t.Parallel()
	c := &Console{}
	c.remember([]Event{{Message: "failover"}})
	var last time.Time
	for i := range 200 {
		last = time.Unix(int64(i), 0)
		c.remember([]Event{{Message: "primary refuses"}, {Message: "replica refuses"}, {At: last, Message: "lost"}})
	}
	if n := len(c.events); n != 4 || c.events[0].Message != "failover" || !c.events[3].At.Equal(last) {
		t.Errorf("%d events: %v", n, c.events)
	}
}

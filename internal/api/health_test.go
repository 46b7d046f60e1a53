package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"quern/postgres"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	const ok = `{"status":"ok"}` + "\n"
	for name, test := range map[string]struct {
		err    error
		detail string
	}{
		"Ready":    {nil, ""},
		"NotReady": {fmt.Errorf("check: %w", NotReady("2 migrations are pending")), "Not ready: 2 migrations are pending."},
		"Database": {&postgres.Error{Kind: postgres.ErrUnavailable, Err: errors.New("password=s3cret")}, "Not ready: " + codes[codeUnavailable].detail},
		"Timeout":  {context.DeadlineExceeded, "Not ready: " + codes[codeTimeout].detail},
		"Else":     {errors.New("password=s3cret"), "Not ready."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, func(cfg *Config) {
				cfg.Ready = func(ctx context.Context) error {
					if _, bounded := ctx.Deadline(); !bounded {
						t.Error("the check has no deadline")
					}
					return test.err
				}
			})
			if a := c.get("/livez?from=probe"); a.body != ok {
				t.Errorf("alive is %s", a.body)
			}
			a := c.do("GET", "/readyz", "")
			if test.err == nil {
				if a.want(200); a.body != ok {
					t.Errorf("ready is %s", a.body)
				}
				return
			}
			p := a.problem(503, codeUnavailable)
			if p.Detail != test.detail || strings.Contains(a.body, "s3cret") || a.header.Get("Retry-After") != "1" {
				t.Errorf("%s, want the detail %q", a.body, test.detail)
			}
			if strings.Count(c.log.String(), "\n") != 1 {
				t.Errorf("logged %q, want one line", c.log)
			}
		})
	}
	if a := newClient(t).get("/readyz"); a.body != ok {
		t.Errorf("without a check ready is %s", a.body)
	}
}

// TestHealth_LoggedOnce probes during an outage. Its beginning, a change of the reason and its
// end must be logged once each.
func TestHealth_LoggedOnce(t *testing.T) {
	t.Parallel()
	var reason error
	c := newClient(t, func(cfg *Config) { cfg.Ready = func(context.Context) error { return reason } })
	for _, reason = range []error{nil, errors.New("down"), errors.New("down"), errors.New("read-only"), errors.New("read-only"), nil, nil} {
		c.do("GET", "/readyz", "")
	}
	log := c.log.String()
	for text, want := range map[string]int{"error=down": 1, "error=read-only": 1, `msg="ready again"`: 1, "\n": 3} {
		if n := strings.Count(log, text); n != want {
			t.Errorf("%q was logged %d times, want %d:\n%s", text, n, want, log)
		}
	}
}

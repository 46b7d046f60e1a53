package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
)

// hostsOf returns the first address with the hosts of all addresses.
func hostsOf(t *testing.T, addresses ...string) string {
	t.Helper()
	var hosts []string
	for _, a := range addresses {
		u, err := url.Parse(a)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, u.Host)
	}
	return changed(t, addresses[0], func(u *url.URL) { u.Host = strings.Join(hosts, ",") })
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), part)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// gauge returns the metric with the given name and first label, and whether it exists.
func (c counts) gauge(name, label string) (float64, bool) {
	families, err := c.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
			}
		}
	}
	return 0, false
}

// A host of another cluster is reported once, and is not used once the cluster is known.
func TestHosts_OtherCluster(t *testing.T) {
	t.Parallel()
	ours, other := ownServer(t, nil), ownServer(t, nil)
	// Both servers accept the same user.
	user, err := url.Parse(ours.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := user.User.Password()
	admin(t, other.URL(), "ALTER ROLE "+user.User.Username()+" PASSWORD '"+password+"'")
	var log lines
	c := newCounts()
	r := open(t, postgres.Config{URL: hostsOf(t, ours.URL(), other.URL()), Observers: observers(c.Registry), Logger: log.logger()})
	var name string
	if err := r.QueryRow(t.Context(), "SELECT inet_server_port()::text").Scan(&name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other cluster is reported", func() bool { return log.count("belongs to another cluster") == 1 })
	if n, _ := c.gauge("quern_host_problems_total", "other_cluster"); n != 1 {
		t.Errorf("%v hosts of another cluster are counted, want 1", n)
	}

	report, err := postgres.LookAtHosts(t.Context(), postgres.Config{URL: hostsOf(t, ours.URL(), other.URL())})
	if err != nil || len(report) != 2 {
		t.Fatalf("%+v, %v", report, err)
	}
	if report[0].Problem != "" || !strings.Contains(report[1].Problem, "remove it from DATABASE_URL") || report[0].System == report[1].System {
		t.Errorf("%+v", report)
	}
	if report[0].Timeline != 1 {
		t.Errorf("timeline %d, want 1", report[0].Timeline)
	}

	stopped, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := ours.Stop(stopped); err != nil {
		t.Fatal(err)
	}
	_, err = r.Exec(t.Context(), "SELECT 1")
	if !errors.Is(err, postgres.ErrUnavailable) {
		t.Errorf("a statement ran on the other cluster: %v", err)
	}
	if d := postgres.Diagnose(err); !strings.Contains(d.What, "another cluster") {
		t.Errorf("%+v of %v", d, err)
	}
	if n := log.count("a host of DATABASE_URL must not be written to"); n != 1 {
		t.Errorf("%d log lines about it, want 1", n)
	}
}

// Two names of one server are no conflict, even while the server restarts. With one host or
// behind a pooler, hosts are not watched.
func TestHosts_OneServer(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	_, through := newWire(t, server.URL())
	c := newCounts()
	r := open(t, postgres.Config{URL: hostsOf(t, server.URL(), through), Observers: observers(c.Registry)})
	u, _ := url.Parse(through)
	eventually(t, "both are checked", func() bool {
		n, ok := c.gauge("quern_host_timeline", u.Host)
		return ok && n == 1
	})
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	startServer(t, server.Dir(), nil) // on the same port
	eventually(t, "it answers again", func() bool { _, err := r.Exec(t.Context(), "SELECT 1"); return err == nil })
	eventually(t, "both are checked again", func() bool {
		n, _ := c.gauge("quern_host_timeline", u.Host)
		return n == 1
	})
	for _, problem := range []string{"older_timeline", "equal_timelines", "other_cluster"} {
		if n, ok := c.gauge("quern_host_problems_total", problem); !ok || n != 0 {
			t.Errorf("%s is counted %v times (%v), want 0", problem, n, ok)
		}
	}

	for name, cfg := range map[string]postgres.Config{
		"one host":   {URL: server.URL()},
		"one twice":  {URL: hostsOf(t, server.URL(), server.URL())},
		"its pooler": {URL: hostsOf(t, server.URL(), through), Pooler: postgres.PoolerTransaction},
	} {
		c := newCounts()
		cfg.Observers = observers(c.Registry)
		open(t, cfg)
		if _, ok := c.gauge("quern_host_timeline", u.Host); ok {
			t.Errorf("%s: the hosts are watched", name)
		}
		if list, err := postgres.LookAtHosts(t.Context(), cfg); list != nil || err != nil {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

// The order of the checks shows whether two servers accept writes on one timeline, or one
// server with two names restarts.
func TestHosts_Order(t *testing.T) {
	t.Parallel()
	type look = postgres.HostLook
	for _, c := range []struct {
		name  string
		looks []look
		want  []string
	}{
		{"a primary and a standby", []look{{0, 1, 10}, {1, 0, 20}, {0, 1, 10}}, []string{"", ""}},
		{"a standby is promoted", []look{{0, 1, 10}, {1, 0, 20}, {1, 2, 20}}, []string{"", ""}},
		{"and the primary lives on", []look{{0, 1, 10}, {1, 2, 20}, {0, 1, 10}}, []string{"older_timeline", ""}},
		{"until it follows", []look{{0, 1, 10}, {1, 2, 20}, {0, 1, 10}, {0, 0, 11}}, []string{"", ""}},
		{"two names, restarted", []look{{0, 1, 10}, {1, 1, 10}, {0, 1, 11}, {1, 1, 11}, {0, 1, 11}}, []string{"", ""}},
		{"two names, restarted, one seen late", []look{{0, 1, 10}, {1, 1, 10}, {0, 1, 11}, {0, 1, 11}}, []string{"", ""}},
		{"promoted apart", []look{{0, 2, 10}, {1, 2, 20}, {0, 2, 10}, {1, 2, 20}}, []string{"", "equal_timelines"}},
		{"it stays reported", []look{{0, 2, 10}, {1, 2, 20}, {0, 2, 10}, {1, 2, 20}, {1, 2, 20}}, []string{"", "equal_timelines"}},
		{"until it follows", []look{{0, 2, 10}, {1, 2, 20}, {0, 2, 10}, {1, 2, 20}, {1, 0, 21}}, []string{"", ""}},
	} {
		if got := postgres.HostProblems(2, c.looks...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A host that is shutting down or full is checked again after a second, not after the pause
// for a rejected role.
func TestHosts_Shutdown(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	_, through := newWire(t, server.URL())
	c := newCounts()
	open(t, postgres.Config{URL: hostsOf(t, server.URL(), through), Observers: observers(c.Registry)})
	u, _ := url.Parse(through)
	shows := func(want float64) func() bool {
		return func() bool { n, ok := c.gauge("quern_host_timeline", u.Host); return ok && n == want }
	}
	eventually(t, "it is checked", shows(1))
	eventually(t, "the connection's end is noticed", func() bool {
		// The message of a fast shutdown to each session. The host itself may send it
		// later.
		admin(t, server.URL(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
		return shows(-1)()
	})
	eventually(t, "it is checked again", shows(1))
}

// A role without the privileges for the check can connect nevertheless, and the report
// contains the missing GRANT.
func TestHosts_NoPrivilege(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	_, through := newWire(t, server.URL())
	admin(t, server.URL(), "CREATE ROLE plain LOGIN PASSWORD 'x'", "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
	cfg := postgres.Config{URL: as(t, hostsOf(t, server.URL(), through), "plain", "x")}
	r := open(t, cfg)
	if _, err := r.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
	list, err := postgres.LookAtHosts(t.Context(), cfg)
	if err != nil || len(list) != 2 || list[0].Err == nil || !strings.Contains(list[0].Err.Error(), "GRANT EXECUTE") {
		t.Errorf("%+v, %v", list, err)
	}
}

// A dead host, and one that drops all packets, cost one log line each, but no goroutine,
// and do not delay any call.
func TestHosts_Dead(t *testing.T) {
	server := ownServer(t, nil)
	wire, through := newWire(t, server.URL())
	dead := changed(t, server.URL(), func(u *url.URL) { u.Host = freeAddress(t) })
	var log lines
	c := newCounts()
	open(t, postgres.Config{
		URL: hostsOf(t, server.URL(), dead, through), ConnectTimeout: 2 * time.Second, Observers: observers(c.Registry), Logger: log.logger(),
	})
	u, _ := url.Parse(through)
	shows := func(host string, want float64) func() bool {
		return func() bool { n, ok := c.gauge("quern_host_timeline", host); return ok && n == want }
	}
	eventually(t, "the host that answers is checked", shows(u.Host, 1))
	// On the kept connection. Opening it takes four messages.
	messages := wire.trips.Load()
	eventually(t, "it is checked again", func() bool { return wire.trips.Load() >= messages+6 })
	wire.silence(true)
	eventually(t, "the silent host is noticed", shows(u.Host, -1))
	before := runtime.NumGoroutine()
	attempts := wire.accepted.Load()
	eventually(t, "it is retried repeatedly", func() bool { return wire.accepted.Load() >= attempts+1 })
	if n := runtime.NumGoroutine(); n > before+10 {
		t.Errorf("%d goroutines, and %d before", n, before)
	}
	wire.silence(false)
	eventually(t, "it answers again", shows(u.Host, 1))
	if n := log.count("does not answer"); n != 2 {
		t.Errorf("%d log lines say that a host does not answer, want one for each of two", n)
	}
	if n := log.count("a host of DATABASE_URL answers"); n != 1 {
		t.Errorf("%d log lines say that a host answers again, want 1", n)
	}
}

// BenchmarkHosts_Look measures the CPU time of one check in this process.
func BenchmarkHosts_Look(b *testing.B) {
	look := postgres.LookLoop(b, pgtest.EmptyURL(b))
	before := cpuTime()
	for b.Loop() {
		look()
	}
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/look")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

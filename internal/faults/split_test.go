//go:build linux

package faults

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/db"
	"quern/postgres"
	"quern/postgres/migrate"
)

// hostsURL returns a connection string that names several nodes.
func hostsURL(nodes ...*node) string {
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.address())
	}
	return nodes[0].urlVia(strings.Join(addresses, ",")) + "&target_session_attrs=read-write"
}

// metric returns the sum of those series of a metric that have a label with the
// given value, or of all series if label is empty.
func metric(t testing.TB, r *prometheus.Registry, name, label string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// atRisk returns how many acknowledged writes the node lacks, and how long
// after the given time the last of them was acknowledged.
func (l *ledger) atRisk(t testing.TB, n *node, since time.Time) (writes int, last time.Duration) {
	t.Helper()
	b := l.balance(t, n)
	if len(b.doubled)+len(b.torn)+len(b.ghosts) > 0 {
		t.Errorf("%v", b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range b.lost {
		last = max(last, l.entries[name].ended.Sub(since))
	}
	return len(b.lost), last
}

// TestSplitBrain promotes a standby while the primary is still running, like a
// failover manager that cannot reach it. The writes must move to the new
// primary by themselves, and a process that starts then must never use the old
// one.
func TestSplitBrain(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	promoted := c.standbys[0]
	l := newLedger(t, c.primary)
	url := hostsURL(c.primary, promoted, c.standbys[1])
	registry := prometheus.NewRegistry()
	router, q := connect(t, postgres.Config{URL: url, MaxConns: 8, MinConns: 2, Observers: observers(registry)})
	naivePool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer naivePool.Close()
	naiveLedger := &ledger{name: "naive ", owner: l.owner, entries: map[string]entry{}}
	eventually(t, startLimit, "the owner is on the standby", func() bool { return ask[int](t, promoted, "SELECT count(*) FROM users") == 1 })

	listening, stopListening := context.WithCancel(t.Context())
	heard := make(chan string, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		router.Listen(listening, "split", func(payload string, connected bool) {
			if connected {
				payload = "connected"
			}
			heard <- payload
		})
	}()
	defer func() { stopListening(); <-done }()
	hear := func(want string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("received %q, want %q", got, want)
			}
		case <-time.After(startLimit):
			t.Errorf("not received: %q", want)
		}
	}
	hear("connected")
	stop := writers(t.Context(), l, q.InTx, 4, 10*time.Second)
	defer stop()
	stopNaive := writers(t.Context(), naiveLedger, naive(naivePool), 1, 10*time.Second)
	defer stopNaive()
	eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= 100 })

	// A transaction that is still open when the primary is replaced.
	began, release := make(chan struct{}), make(chan struct{})
	held := make(chan error, 1)
	attempts := 0
	go func() {
		held <- q.InTx(t.Context(), func(q *db.Queries) error {
			_, err := q.CreateUser(t.Context(), db.CreateUserParams{Username: "held", Email: "x", Tags: []string{}})
			if attempts++; attempts == 1 {
				close(began)
				<-release
			}
			return err
		})
	}()
	<-began
	promoted.promote(t)
	since := time.Now()
	eventually(t, startLimit, "the higher timeline is seen", func() bool { return metric(t, registry, "quern_timeline_changes_total", "") == 1 })
	noticed := time.Since(since)
	close(release)
	if err := <-held; err != nil {
		t.Errorf("a transaction that was open: %v", err)
	}
	if n := ask[int](t, promoted, "SELECT count(*) FROM users WHERE username = 'held'"); n != 1 || attempts != 2 {
		t.Errorf("the transaction that was open ran %d times and is stored %d times on the new primary, want 2 and 1", attempts, n)
	}
	before := l.acknowledged()
	eventually(t, startLimit, "writes go on", func() bool { return l.acknowledged() >= before+200 })
	eventually(t, startLimit, "the control writes on", func() bool {
		naiveLedger.mu.Lock()
		defer naiveLedger.mu.Unlock()
		return slices.ContainsFunc(entriesOf(naiveLedger), func(e entry) bool { return e.err == nil && e.began.After(since.Add(noticed+time.Second)) })
	})
	stop()
	stopNaive()

	lost, last := l.atRisk(t, promoted, since)
	t.Logf("noticed after %v; %d of %d acknowledged writes are not on the new primary, the last acknowledged %v after the promotion%s",
		noticed.Round(time.Millisecond), lost, l.acknowledged(), last.Round(time.Millisecond), l.failures())
	if last > noticed+500*time.Millisecond {
		t.Errorf("a write was acknowledged by the old primary %v after the promotion, which was noticed after %v", last, noticed)
	}
	if long && last > 1500*time.Millisecond {
		t.Errorf("writes were at risk for %v", last)
	}
	naiveLost, naiveLast := naiveLedger.atRisk(t, promoted, since)
	t.Logf("a plain pool with the same connection string: %d of %d are missing, the last after %v", naiveLost, naiveLedger.acknowledged(), naiveLast.Round(time.Millisecond))
	if naiveLast <= noticed+time.Second {
		t.Error("the control lost nothing after that: the test shows nothing")
	}
	eventually(t, startLimit, "the old primary is reported", func() bool { return metric(t, registry, "quern_host_problems_total", "older_timeline") == 1 })
	for n, want := range map[*node]float64{c.primary: 1, promoted: 2, c.standbys[1]: 0} {
		if got := metric(t, registry, "quern_host_timeline", n.address()); got != want {
			t.Errorf("%s is shown on timeline %v, want %v", n.name, got, want)
		}
	}

	// It listens on the server that it writes to.
	hear("connected")
	if err := promoted.exec(t.Context(), database, "NOTIFY split, 'from the new primary'"); err != nil {
		t.Fatal(err)
	}
	hear("from the new primary")

	// The old primary is the first in the list of a process that starts now.
	_, fresh := connect(t, postgres.Config{URL: url})
	if _, err := fresh.CreateUser(t.Context(), db.CreateUserParams{Username: "fresh", Email: "x", Tags: []string{}}); err != nil {
		t.Fatal(err)
	}
	if ask[int](t, promoted, "SELECT count(*) FROM users WHERE username = 'fresh'") != 1 {
		t.Error("a process that started wrote to the old primary")
	}
	oneMore := fstest.MapFS{"99999_split.sql": {Data: []byte("-- +goose Up\nCREATE TABLE written_by_a_migration ();\n")}}
	migrates, err := migrate.New(migrate.Config{URL: url, FS: oneMore, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer migrates.Close()
	if _, err := migrates.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ask[bool](t, c.primary, "SELECT to_regclass('written_by_a_migration') IS NOT NULL") {
		t.Error("a migration was applied to the old primary")
	}

	// If the new primary goes down, the remaining server is refused, and the error
	// says why.
	promoted.kill(t)
	var refused error
	eventually(t, startLimit, "writes are refused", func() bool {
		_, refused = q.CreateUser(t.Context(), newUser())
		return refused != nil
	})
	if d := postgres.Diagnose(refused); !errors.Is(refused, postgres.ErrUnavailable) || !d.Transient || !strings.Contains(d.Hint, "restart this process") {
		t.Errorf("refused with %v: %+v", refused, d)
	}
	_, restarted := connect(t, postgres.Config{URL: url})
	if _, err := restarted.CreateUser(t.Context(), newUser()); err != nil {
		t.Errorf("a process that starts when only the old primary is left: %v", err)
	}
}

// TestSplitBrain_Synchronous promotes the standby that every COMMIT of the
// primary waits for, while the primary is still running. The primary
// acknowledges no more COMMITs, and those that wait do not block other writes.
// Nothing may be lost.
func TestSplitBrain_Synchronous(t *testing.T) {
	checkLeaks(t)
	c := newSynchronousPair(t)
	l := newLedger(t, c.primary)
	registry := prometheus.NewRegistry()
	_, q := connect(t, postgres.Config{URL: hostsURL(c.primary, c.standbys[0]), MaxConns: 4, Observers: observers(registry)})
	stop := writers(t.Context(), l, q.InTx, 8, 20*time.Second)
	defer stop()
	eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= 100 })
	c.standbys[0].promote(t)
	since := time.Now()
	before := l.acknowledged()
	eventually(t, startLimit, "writes are acknowledged again", func() bool { return l.acknowledged() >= before+200 })
	stop()
	t.Logf("%v; nothing was acknowledged for %v%s", l.check(t, c.standbys[0]), l.gap(since).Round(time.Millisecond), l.failures())
	// The hosts are checked once a second. A COMMIT that waits would give up after
	// ten seconds.
	if gap := l.gap(since); gap > 5*time.Second {
		t.Errorf("nothing was acknowledged for %v", gap)
	}
	eventually(t, startLimit, "no COMMIT counts as waiting", func() bool {
		return metric(t, registry, "quern_commits_waiting_for_standby", "") == 0
	})
	// PostgreSQL itself keeps waiting.
	c.primary.set(t, map[string]string{"synchronous_standby_names": ""})
}

func entriesOf(l *ledger) (list []entry) {
	for _, e := range l.entries {
		list = append(list, e)
	}
	return list
}

// TestEqualTimelines promotes two standbys independently, so that both are
// primaries on timeline 2. It is impossible to tell which one is right, so the
// Router must report it and keep writing to the one that it used first.
func TestEqualTimelines(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	first, second := c.standbys[0], c.standbys[1]
	c.primary.kill(t)
	second.promote(t)
	registry := prometheus.NewRegistry()
	l := newLedger(t, second)
	_, q := connect(t, postgres.Config{URL: hostsURL(first, second), MaxConns: 4, MaxConnLifetime: 50 * time.Millisecond, Observers: observers(registry)})
	stop := writers(t.Context(), l, q.InTx, 2, 10*time.Second)
	defer stop()
	eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= 20 })
	first.promote(t)
	eventually(t, startLimit, "it is reported", func() bool { return metric(t, registry, "quern_host_problems_total", "equal_timelines") == 1 })
	reported := time.Now()
	before := l.acknowledged()
	eventually(t, startLimit, "connections are made anew all the time", func() bool {
		return l.acknowledged() >= before+200 && time.Since(reported) > time.Second
	})
	stop()
	t.Logf("%v%s", l.check(t, second), l.failures())
	if got := metric(t, registry, "quern_timeline_changes_total", ""); got != 0 {
		t.Errorf("the writes were moved %v times", got)
	}
	if got := metric(t, registry, "quern_host_problems_total", ""); got != 1 {
		t.Errorf("%v problems were counted, want the one event", got)
	}

	if !long {
		return
	}
	// If the first one is down permanently, the other is better than none.
	second.kill(t)
	eventually(t, startLimit, "writes are acknowledged by the other one", func() bool {
		_, err := q.CreateUser(t.Context(), newUser())
		return err == nil && ask[int](t, first, "SELECT count(*) FROM users WHERE username LIKE 'u%'") > 0
	})
}

// TestPrimaryCrashes_StandbySilent crashes the sessions of a primary whose
// COMMITs wait for a standby that does not answer. After its recovery, the
// primary has the transactions that waited, and the standby does not. None may
// be acknowledged, because the standby is promoted then.
func TestPrimaryCrashes_StandbySilent(t *testing.T) {
	checkLeaks(t)
	c := newSynchronousPair(t)
	primary, standby := c.primary, c.standbys[0]
	l := newLedger(t, primary)
	_, q := connect(t, postgres.Config{
		URL: hostsURL(primary, standby), MaxConns: 16, ConnectTimeout: time.Second, // also to the silent standby, while the primary recovers
	})
	stop := writers(t.Context(), l, q.InTx, 3, 8*time.Second)
	defer stop()
	eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= 100 })
	standby.pause(t)
	eventually(t, startLimit, "COMMITs wait for the standby", func() bool {
		return ask[int](t, primary, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND state = 'active'") > 0
	})
	before := l.acknowledged()
	primary.killBackend(t)
	noted := l.noted()
	eventually(t, startLimit, "the writers have their results", func() bool { return l.noted() >= noted+3 })
	if n := l.acknowledged() - before; n > 0 {
		t.Errorf("%d transactions were acknowledged without the standby", n)
	}
	primary.kill(t)
	standby.resume()
	standby.promote(t)
	before = l.acknowledged()
	eventually(t, startLimit, "writes are acknowledged by the standby", func() bool { return l.acknowledged() >= before+100 })
	stop()
	standby.waitForBackends(t)
	t.Logf("%v%s", l.check(t, standby), l.failures())
}

// TestPrimaryCrashes_Repeated crashes the session of a statement that may be repeated, while
// it waits for a standby that does not answer. After the recovery the repetition finds its
// work done and has nothing to write. It must wait for the standby nevertheless. If another
// session crashes, PostgreSQL ends the one that waits, which then sends its row.
func TestPrimaryCrashes_Repeated(t *testing.T) {
	for name, crashes := range map[string]string{"Itself": "wait_event = 'SyncRep'", "Another": "wait_event IS DISTINCT FROM 'SyncRep'"} {
		t.Run(name, func(t *testing.T) { crashRepeated(t, crashes) })
	}
}

func crashRepeated(t *testing.T, crashes string) {
	checkLeaks(t)
	c := newSynchronousPair(t)
	primary, standby := c.primary, c.standbys[0]
	_, q := connect(t, postgres.Config{URL: primary.url(), MaxConns: 4})
	if _, err := q.CreateTask(t.Context(), db.CreateTaskParams{Name: "pay", Payload: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	claimed, err := q.ClaimTasks(t.Context(), db.ClaimTasksParams{Worker: "w", LeaseSeconds: 60, MaxTasks: 1})
	if err != nil || len(claimed) != 1 {
		t.Fatalf("%d tasks were claimed, %v", len(claimed), err)
	}
	other, err := pgx.Connect(t.Context(), primary.url())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.WithoutCancel(t.Context()))
	standby.pause(t)
	result := make(chan error, 1)
	go func() {
		_, err := q.CompleteTask(t.Context(), db.CompleteTaskParams{ID: claimed[0].ID, Worker: "w", Attempts: claimed[0].Attempts})
		result <- err
	}()
	waits := func() bool {
		select {
		case err := <-result:
			t.Fatalf("it was answered without the standby: %v", err)
		default:
		}
		conn, err := primary.dial(t.Context(), database)
		if err != nil {
			return false // it recovers
		}
		defer conn.Close(t.Context())
		var n int
		err = conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND state = 'active'").Scan(&n)
		return err == nil && n > 0
	}
	eventually(t, startLimit, "its COMMIT waits for the standby", waits)
	primary.killBackend(t, crashes)
	eventually(t, startLimit, "the COMMIT of its repetition waits, too", waits)
	standby.resume()
	if err := <-result; !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("the repetition, whose work was done: %v", err)
	}
}

//go:build linux

package faults

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/postgres"
)

// ownReads counts the results of reading one's own writes.
type ownReads struct {
	asked, missing, foreign int
}

func (o ownReads) wrong() int { return o.missing + o.foreign }

func (o ownReads) plus(p ownReads) ownReads {
	return ownReads{o.asked + p.asked, o.missing + p.missing, o.foreign + p.foreign}
}

func (o ownReads) String() string {
	return fmt.Sprintf("%d reads of own writes, %d not found, %d returned another user's row", o.asked, o.missing, o.foreign)
}

// count adds the result of reading u.
func (o *ownReads) count(t testing.TB, u *db.User, username string, err error) {
	t.Helper()
	o.asked++
	switch {
	case errors.Is(err, postgres.ErrNotFound), errors.Is(err, pgx.ErrNoRows):
		o.missing++
	case err != nil:
		t.Errorf("read user %d: %v", u.ID, err)
	case username != u.Username:
		o.foreign++
	}
}

// readOwn creates n users and reads each with its token, both with the Router
// and on the leftover server by comparing only positions.
func readOwn(t testing.TB, q *db.Queries, leftover *node, n int) (router, naive ownReads) {
	t.Helper()
	conn, err := leftover.dial(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for range n {
		ctx, session := postgres.WithSession(t.Context())
		u, err := q.CreateUser(ctx, newUser())
		if err != nil {
			t.Fatal(err)
		}
		got, err := q.GetUser(observing(t, session.Token()), u.ID)
		if err != nil {
			got = &db.User{}
		}
		router.count(t, u, got.Username, err)

		var username string
		err = conn.QueryRow(t.Context(), `SELECT username FROM users WHERE id = $1
			AND pg_last_wal_replay_lsn() - '0/0' >= $2::numeric
			UNION ALL SELECT $3 WHERE pg_last_wal_replay_lsn() - '0/0' < $2::numeric`,
			u.ID, positionIn(t, session.Token()), u.Username).Scan(&username)
		naive.count(t, u, username, err)
	}
	return router, naive
}

// observing returns the context of another session that has observed the token.
func observing(t testing.TB, token string) context.Context {
	t.Helper()
	ctx, session := postgres.WithSession(t.Context())
	if err := session.Observe(token); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// positionIn returns the position in a token.
func positionIn(t testing.TB, token string) int64 {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 21 {
		t.Fatalf("token %q: %v", token, err)
	}
	return int64(binary.BigEndian.Uint64(b[13:]))
}

// stopReceiving keeps a standby from receiving more WAL.
func (n *node) stopReceiving(t testing.TB) {
	t.Helper()
	n.set(t, map[string]string{"primary_conninfo": "host=127.0.0.1 port=1 user=nobody"})
	eventually(t, startLimit, n.name+" receives nothing", func() bool {
		return ask[int](t, n, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == 0
	})
}

// repoint makes a standby follow another server, without a restart.
func (n *node) repoint(t testing.TB, primary *node) {
	t.Helper()
	n.follow(t, primary)
	n.set(t, map[string]string{"primary_conninfo": n.settings["primary_conninfo"]})
}

// fill writes rows of about 2 kB to a server, outside of the Router.
func (n *node) fill(t testing.TB, rows int) {
	t.Helper()
	if err := n.exec(t.Context(), database, fmt.Sprintf(`INSERT INTO users (username, email)
		SELECT 'other ' || gen_random_uuid(), repeat('x', 100) FROM generate_series(1, %d)`, rows)); err != nil {
		t.Fatal(err)
	}
}

// asApp creates an ordinary role that may only use the tables, and returns the
// URL with it.
func (c *cluster) asApp(t testing.TB, address string) string {
	t.Helper()
	for _, sql := range []string{
		"CREATE ROLE app LOGIN PASSWORD '" + c.primary.lab.password + "'",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app",
		"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app",
	} {
		if err := c.primary.exec(t.Context(), database, sql); err != nil {
			t.Fatal(err)
		}
	}
	return appURL(t, c.primary, address)
}

func appURL(t testing.TB, n *node, address string) string {
	t.Helper()
	u, err := url.Parse(n.urlVia(address))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("app", n.lab.password)
	return u.String()
}

// awaitReads returns when the replica behind a proxy has answered reads.
func awaitReads(t testing.TB, q *db.Queries, p *proxy, limit time.Duration) time.Duration {
	t.Helper()
	before, began := served(p), time.Now()
	eventually(t, limit, "the replica answers reads", func() bool {
		_, _ = q.GetUser(t.Context(), 1)
		return served(p) > before
	})
	return time.Since(began)
}

// TestHistories_LeftoverReplica loses the primary of two asynchronous standbys
// and promotes the one that lags. The other one is left as it is, with a higher
// position than the new primary and with rows that are lost.
func TestHistories_LeftoverReplica(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	next, leftover := c.standbys[0], c.standbys[1]
	p := proxyTo(t, leftover.address())
	cfg := postgres.Config{
		URL:         c.primary.urlVia(c.primary.address()+","+next.address()) + "&target_session_attrs=read-write",
		ReplicaURLs: []string{c.primary.url(), next.url(), c.primary.urlVia(p.address())}, MaxConns: 8, MinConns: 2,
	}
	_, q := connect(t, cfg)
	awaitReads(t, q, p, startLimit)

	next.stopReceiving(t)
	var lost []*db.User
	var tokens []string
	for range 200 {
		ctx, session := postgres.WithSession(t.Context())
		u, err := q.CreateUser(ctx, newUser())
		if err != nil {
			t.Fatal(err)
		}
		lost, tokens = append(lost, u), append(tokens, session.Token())
	}
	eventually(t, startLimit, "the rows that will be lost are on the leftover replica", func() bool {
		return ask[int](t, leftover, "SELECT count(*) FROM users WHERE id = $1", lost[199].ID) == 1
	})
	c.primary.kill(t)
	next.promote(t)
	// The first write finds the new primary, and may find the old one dead.
	eventually(t, startLimit, "the new primary takes writes", func() bool {
		_, err := q.CreateUser(t.Context(), newUser())
		return err == nil
	})
	// The Router has not inspected it yet. It learned the history when it
	// connected.
	lostIsGone := func(ctx context.Context, u *db.User) {
		t.Helper()
		switch got, err := q.GetUser(ctx, u.ID); {
		case err != nil && !errors.Is(err, postgres.ErrNotFound):
			t.Error(err)
		case err == nil && got.Username == u.Username:
			t.Fatalf("user %d of the lost history was read", u.ID)
		}
	}
	lostIsGone(t.Context(), lost[199])

	router, naive := readOwn(t, q, leftover, times(200, 500))
	t.Logf("the Router: %v", router)
	t.Logf("comparing positions only: %v", naive)
	if router.wrong() > 0 {
		t.Error("reads of own writes were wrong")
	}
	if naive.wrong() == 0 {
		t.Error("comparing positions read nothing wrongly either: the test shows nothing")
	}
	// Rows of the lost history are not read with the token of a lost write, and not
	// without a token.
	for i := range lost {
		lostIsGone(observing(t, tokens[i]), lost[i])
		lostIsGone(t.Context(), lost[i])
	}
	inspect(t, cfg, "connect to", "", "the last primary that it followed is another one")
}

// TestHistories_SameTimeline promotes both standbys, so that both have timeline
// 2, and reads from a replica of one while the other is the primary.
func TestHistories_SameTimeline(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	ours, theirs := c.standbys[0], c.standbys[1]
	below := c.primary.lab.newNode(t, "below", nil)
	below.follow(t, theirs)
	below.start(t)
	c.primary.kill(t)
	ours.promote(t)
	theirs.promote(t)
	theirs.fill(t, times(300, 1000))
	eventually(t, startLimit, "the replica follows the other one", func() bool {
		return ask[int](t, below, "SELECT count(*) FROM users WHERE username LIKE 'other %'") > 0
	})
	// The other primary has a service, too, whose row and beats are on the replica.
	p := proxyTo(t, below.address())
	_, others := connect(t, postgres.Config{URL: theirs.url(), ReplicaURLs: []string{theirs.urlVia(p.address())}, MaxConns: 2})
	awaitReads(t, others, p, startLimit)
	for began := time.Now(); time.Since(began) < beats; {
		theirs.fill(t, 1)
	}
	_, q := connect(t, postgres.Config{URL: ours.url(), ReplicaURLs: []string{below.url()}, MaxConns: 8, MinConns: 2})
	router, naive := readOwn(t, q, below, times(100, 300))
	t.Logf("the Router: %v", router)
	t.Logf("comparing positions only: %v", naive)
	if router.wrong() > 0 || naive.wrong() == 0 {
		t.Error("want none wrong by the Router, and some by positions")
	}
}

// TestHistories_SplitBrain leaves the old primary running, with the service
// connected only to it, and repoints its replica to the new one. The replica
// still shows the old primary's row for a while.
//
// A role with pg_read_all_stats notices in every case. An ordinary role notices
// if the replica itself was repointed. If the standby above the replica was
// repointed, an ordinary role notices when the beats stop.
func TestHistories_SplitBrain(t *testing.T) {
	for _, role := range []string{"ordinary", "monitor"} {
		for _, form := range []string{"direct", "cascade"} {
			t.Run(role+"/"+form, func(t *testing.T) { splitBrain(t, role == "monitor", form == "cascade") })
		}
	}
}

func splitBrain(t *testing.T, monitor, cascade bool) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	next, turning := c.standbys[0], c.standbys[1]
	replica := turning
	if cascade {
		replica = c.primary.lab.newNode(t, "below", nil)
		replica.follow(t, turning)
		replica.start(t)
	}
	p := proxyTo(t, replica.address())
	primary := c.asApp(t, c.primary.address())
	if monitor {
		if err := c.primary.exec(t.Context(), database, "GRANT pg_read_all_stats TO app"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, startLimit, "the role is on the replica", func() bool {
		return ask[int](t, replica, "SELECT count(*) FROM pg_roles WHERE rolname = 'app'") == 1
	})
	_, q := connect(t, postgres.Config{URL: primary, ReplicaURLs: []string{appURL(t, replica, p.address())}, MaxConns: 8, MinConns: 2})
	awaitReads(t, q, p, startLimit)

	// Nothing is written in the meantime, because a standby that is ahead of the
	// new primary cannot follow it.
	next.promote(t)
	turning.repoint(t, next)
	next.fill(t, 300) // so that its positions are higher
	eventually(t, startLimit, "the replica follows the new primary", func() bool {
		return ask[int](t, replica, "SELECT count(*) FROM users WHERE username LIKE 'other %'") > 0
	})
	var router, naive ownReads
	began, right := time.Now(), 0 // the number of consecutive batches with only correct reads
	for right < times(10, 100) {
		r, n := readOwn(t, q, replica, 20)
		router, naive = router.plus(r), naive.plus(n)
		if right++; r.wrong() > 0 {
			right = 0
			if monitor || !cascade || time.Since(began) > startLimit {
				t.Fatalf("reads of own writes were wrong: %v", router)
			}
		}
		next.fill(t, 20)
	}
	t.Logf("the Router: %v, in %v", router, time.Since(began))
	t.Logf("comparing positions only: %v", naive)
	if naive.wrong() == 0 {
		t.Error("comparing positions read nothing wrongly either: the test shows nothing")
	}
}

//go:build linux

package faults

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// TestReadYourWrites_ReplicaFirst reads on a replica a row that the primary does
// not show yet, because its COMMIT waits for a synchronous standby. After that
// the session must get nothing older from the primary, by any kind of read.
func TestReadYourWrites_ReplicaFirst(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2, primary: map[string]string{"synchronous_standby_names": "standby1"}})
	synchronous, replica := c.standbys[0], c.standbys[1]
	cfg := postgres.Config{URL: c.primary.url(), MaxConns: 4}
	_, plain := connect(t, cfg)
	toPrimary := proxyTo(t, c.primary.address())
	cfg.URL = c.primary.urlVia(toPrimary.address())
	cfg.ReplicaURLs = []string{replica.url()}
	_, q := connect(t, cfg)
	u, err := plain.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}

	synchronous.pause(t)
	written := make(chan error, 1)
	go func() {
		written <- c.primary.exec(context.WithoutCancel(t.Context()), database, fmt.Sprint("UPDATE users SET version = 2 WHERE id = ", u.ID))
	}()
	defer func() {
		synchronous.resume()
		if err := <-written; err != nil {
			t.Error(err)
		}
	}()
	ctx, session := postgres.WithSession(t.Context())
	eventually(t, startLimit, "the replica shows the update", func() bool {
		got, err := q.GetUser(ctx, u.ID)
		return err == nil && got.Version == 2
	})
	token := session.Token()

	reads := map[string]func(ctx context.Context) (*db.User, error){
		"Transaction": func(ctx context.Context) (got *db.User, err error) {
			err = q.InTx(ctx, func(q *db.Queries) error { got, err = q.GetUser(ctx, u.ID); return err })
			return got, err
		},
		"Write": func(ctx context.Context) (*db.User, error) {
			version := int32(2)
			return q.UpdateUser(ctx, db.UpdateUserParams{ID: u.ID, IfVersion: &version})
		},
		"Elsewhere": func(ctx context.Context) (*db.User, error) { return plain.GetUser(ctx, u.ID) },
	}
	for name, read := range reads {
		ctx, cancel := context.WithTimeout(observing(t, token), 300*time.Millisecond)
		if got, err := read(ctx); !errors.Is(err, postgres.ErrUnavailable) && !errors.Is(err, postgres.ErrTimeout) {
			t.Errorf("%s: %+v, %v, but the primary can only show an older version than the session has seen", name, got, err)
		}
		cancel()
	}
	// The replica has the row, and answers when it has the position, too.
	if err := replica.exec(t.Context(), database, "SELECT pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	if err := c.primary.exec(t.Context(), database, "SET synchronous_commit = local; CREATE TABLE later ()"); err != nil {
		t.Fatal(err)
	}
	later := ask[int64](t, c.primary, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")
	looks := toPrimary.count("LookAtRunning")
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if got, err := q.GetUser(observing(t, movedTo(t, token, later)), u.ID); err != nil || got.Version != 2 {
			t.Errorf("a read that a replica may answer: %+v, %v", got, err)
		}
	}()
	eventually(t, startLimit, "the read waits for the primary", func() bool { return toPrimary.count("LookAtRunning") > looks })
	if err := replica.exec(t.Context(), database, "SELECT pg_wal_replay_resume()"); err != nil {
		t.Fatal(err)
	}
	<-answered
	synchronous.resume()
	for _, name := range []string{"Transaction", "Elsewhere", "Write"} {
		if got, err := reads[name](observing(t, token)); err != nil || got.Version < 2 {
			t.Errorf("%s, after the COMMIT has ended: %+v, %v", name, got, err)
		}
	}
}

// movedTo returns the token with another position.
func movedTo(t testing.TB, token string, position int64) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 29 {
		t.Fatalf("token %q: %v", token, err)
	}
	binary.BigEndian.PutUint64(b[13:], uint64(position))
	return base64.RawURLEncoding.EncodeToString(b)
}

// TestReadYourWrites_LongTransaction runs a transaction on the primary that a
// session cannot have seen on the replica. Reads on the primary must not wait
// for it. The replica knows that it has not committed, and without a replica and
// a synchronous standby no COMMIT takes so long.
func TestReadYourWrites_LongTransaction(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 1, primary: map[string]string{"synchronous_standby_names": "standby1"}})
	p := proxyTo(t, c.standbys[0].address())
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: 4, ReplicaURLs: []string{c.primary.urlVia(p.address())}})
	u, err := q.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.primary.dial(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO users (username, email) VALUES ('long', 'x')"); err != nil {
		t.Fatal(err)
	}
	// Its transaction id is lower than one that the replica shows.
	if u, err = q.UpdateUser(t.Context(), db.UpdateUserParams{ID: u.ID}); err != nil {
		t.Fatal(err)
	}
	ctx, session := postgres.WithSession(t.Context())
	eventually(t, startLimit, "the replica shows the update", func() bool {
		before := served(p)
		got, err := q.GetUser(ctx, u.ID)
		return err == nil && got.Version == u.Version && served(p) > before
	})
	token := session.Token()
	read := func() error {
		ctx := observing(t, token)
		return q.InTx(ctx, func(q *db.Queries) error { _, err := q.GetUser(ctx, u.ID); return err })
	}
	if err := read(); err != nil {
		t.Errorf("a read during a transaction that the replica knows to be running: %v", err)
	}
	c.primary.set(t, map[string]string{"synchronous_standby_names": ""})
	c.standbys[0].pause(t)
	defer c.standbys[0].resume()
	if err := read(); err != nil {
		t.Errorf("a read during a transaction of which no replica knows whether it is running: %v", err)
	}
}

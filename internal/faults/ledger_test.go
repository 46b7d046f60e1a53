//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// transactor runs a closure in a transaction, either in the way that is under
// test or in the naive one.
type transactor func(ctx context.Context, fn closure) error

type closure = func(q *db.Queries) error

// ledger records the results that writers got, to compare them with the stored
// rows.
type ledger struct {
	name  string // prefix of the entries' names, if there is another ledger
	owner int64  // the user who owns the posts of entries without a user

	coalesced bool // pipelines may share a transaction

	readBacks atomic.Int64 // how often rows were read back
	acks      atomic.Int64 // acknowledged entries

	mu      sync.Mutex
	entries map[string]entry
}

// entry is one write with its time and its result.
type entry struct {
	began, ended time.Time
	single       bool  // one row, not two
	err          error // nil if it was acknowledged
}

// newLedger adds the user that the entries need to the primary.
func newLedger(t testing.TB, primary *node) *ledger {
	t.Helper()
	owner := ask[int64](t, primary, `INSERT INTO users (username, email) VALUES ('owner', 'x') RETURNING id`)
	return &ledger{owner: owner, entries: map[string]entry{}}
}

// write writes the entry with the given name, which is two rows in one
// transaction, and records the result. An even entry is a user and a post, so a
// repetition violates a unique constraint. An odd one is two posts, where only
// the transaction's own marker can prevent a duplicate.
func (l *ledger) write(ctx context.Context, inTx transactor, name string, odd bool) {
	name = l.name + name
	began := time.Now()
	err := inTx(ctx, func(q *db.Queries) error {
		owner := l.owner
		if odd {
			if _, err := q.CreatePost(ctx, db.CreatePostParams{UserID: owner, Title: name + " first", Tags: []string{}}); err != nil {
				return err
			}
		} else {
			u, err := q.CreateUser(ctx, db.CreateUserParams{Username: name, Email: "x", Tags: []string{}})
			if err != nil {
				return err
			}
			owner = u.ID
		}
		_, err := q.CreatePost(ctx, db.CreatePostParams{UserID: owner, Title: name, Tags: []string{}})
		return err
	})
	l.note(name, entry{began: began, err: err})
}

// writePiped is write in one round trip.
func (l *ledger) writePiped(ctx context.Context, q *db.Queries, name string, odd bool) {
	began := time.Now()
	err := q.Pipeline(ctx, postgres.TxOptions{ReadBack: l.readBack(ctx, name), Coalesce: l.coalesced}, func(b *postgres.Batch) error {
		if odd {
			for _, title := range []string{name + " first", name} {
				q.QueueCreatePost(b, db.CreatePostParams{UserID: l.owner, Title: title, Tags: []string{}})
			}
			return nil
		}
		q.QueueCreateUser(b, db.CreateUserParams{Username: name, Email: "x", Tags: []string{}})
		q.QueueCreatePostsOfNewUser(b, db.CreatePostsOfNewUserParams{
			Titles: []string{name}, Contents: []string{""}, Tags: [][]byte{[]byte("[]")},
		})
		return nil
	})
	l.note(name, entry{began: began, err: err})
}

// readBack returns a function that checks that the rows of an entry exist.
func (l *ledger) readBack(ctx context.Context, name string) func(tx postgres.DBTX) error {
	return func(tx postgres.DBTX) error {
		var n int
		const rows = `SELECT (SELECT count(*) FROM posts WHERE title IN ($1, $1 || ' first'))
			+ (SELECT count(*) FROM users WHERE username = $1)`
		if err := tx.QueryRow(ctx, rows, name).Scan(&n); err != nil {
			return err
		}
		l.readBacks.Add(1)
		if n != 2 {
			return fmt.Errorf("%d rows are read back of an entry of 2", n)
		}
		return nil
	}
}

// writeAlone writes an entry of one row with one statement outside a
// transaction.
func (l *ledger) writeAlone(ctx context.Context, q *db.Queries, name string) {
	began := time.Now()
	_, err := q.CreatePost(ctx, db.CreatePostParams{UserID: l.owner, Title: name, Tags: []string{}})
	l.note(name, entry{began: began, single: true, err: err})
}

func (l *ledger) note(name string, e entry) {
	e.ended = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.entries[name]; ok {
		panic("the ledger has an entry " + name)
	}
	l.entries[name] = e
	if e.err == nil {
		l.acks.Add(1)
	}
}

// acknowledged returns the number of acknowledged writes.
func (l *ledger) acknowledged() int { return int(l.acks.Load()) }

// noted returns the number of entries of the ledger.
func (l *ledger) noted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// slowestCall returns the duration of the slowest write, whatever its result.
func (l *ledger) slowestCall() (d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		d = max(d, e.ended.Sub(e.began))
	}
	return d
}

// resumed returns how long after the given time a write that began after it was
// acknowledged.
func (l *ledger) resumed(after time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := time.Duration(math.MaxInt64)
	for _, e := range l.entries {
		if e.err == nil && e.began.After(after) {
			first = min(first, e.ended.Sub(after))
		}
	}
	return first
}

// gap returns the longest time, after the given one, without an
// acknowledgement.
func (l *ledger) gap(after time.Time) (longest time.Duration) {
	l.mu.Lock()
	ends := []time.Time{after}
	for _, e := range l.entries {
		if e.err == nil && e.ended.After(after) {
			ends = append(ends, e.ended)
		}
	}
	l.mu.Unlock()
	slices.SortFunc(ends, time.Time.Compare)
	for i := range len(ends) - 1 {
		longest = max(longest, ends[i+1].Sub(ends[i]))
	}
	return longest
}

// slowest returns the duration of the slowest acknowledged write.
func (l *ledger) slowest() (d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.err == nil {
			d = max(d, e.ended.Sub(e.began))
		}
	}
	return d
}

// balance is the result of the comparison, in numbers of entries.
type balance struct {
	acknowledged, failed, unknown int

	unknownStored int // unknown but stored, which is as valid as not stored

	lost    []string // acknowledged but not stored
	doubled []string // stored more than once
	ghosts  []string // reported as failed but stored
	torn    []string // stored in part
}

func (b balance) String() string {
	return fmt.Sprintf("%d acknowledged, %d failed, %d unknown (%d of them stored); %d lost, %d doubled, %d failed but stored, %d torn",
		b.acknowledged, b.failed, b.unknown, b.unknownStored, len(b.lost), len(b.doubled), len(b.ghosts), len(b.torn))
}

// balance compares the entries with the rows stored on the node.
func (l *ledger) balance(t testing.TB, n *node) balance {
	t.Helper()
	stored := ask[map[string]int](t, n, `
		SELECT coalesce(jsonb_object_agg(title, n), '{}')
		FROM (SELECT title, count(*) AS n FROM posts GROUP BY title) AS p`)
	users := ask[map[string]int](t, n, `SELECT jsonb_object_agg(username, 1) FROM users`)
	l.mu.Lock()
	defer l.mu.Unlock()
	var b balance
	for name, e := range l.entries {
		n, err := stored[name], e.err
		switch {
		case err == nil, errors.Is(err, postgres.ErrCommitted):
			b.acknowledged++
			if n == 0 {
				b.lost = append(b.lost, name)
			}
		case errors.Is(err, postgres.ErrCommitUnknown):
			b.unknown++
			b.unknownStored += min(n, 1)
		default:
			b.failed++
			if n > 0 {
				b.ghosts = append(b.ghosts, fmt.Sprintf("%s (%v)", name, err))
			}
		}
		if n > 1 {
			b.doubled = append(b.doubled, name)
		}
		if !e.single && stored[name+" first"]+users[name] != n {
			b.torn = append(b.torn, name)
		}
	}
	return b
}

// check fails the test unless the stored rows fit the result of every write.
func (l *ledger) check(t testing.TB, n *node) balance {
	t.Helper()
	b := l.balance(t, n)
	for what, names := range map[string][]string{
		"acknowledged but lost": b.lost, "stored twice": b.doubled, "failed but stored": b.ghosts, "stored in part": b.torn,
	} {
		if len(names) > 0 {
			t.Errorf("%d writes %s: %s", len(names), what, strings.Join(names[:min(5, len(names))], ", "))
		}
	}
	return b
}

// ports distinguish errors that are otherwise the same.
var ports = regexp.MustCompile(`:\d+\b`)

// failures describes each kind of definite failure once, for the log.
func (l *ledger) failures() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	kinds := map[string]int{}
	for _, e := range l.entries {
		if e.err != nil {
			kinds[ports.ReplaceAllString(e.err.Error(), ":…")]++
		}
	}
	var b strings.Builder
	for kind, n := range kinds {
		fmt.Fprintf(&b, "\n    %d × %s", n, kind)
	}
	return b.String()
}

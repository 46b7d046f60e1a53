package main

import (
	"context"
	"math/rand/v2"
	"time"

	"quern/bench/internal/measure"
	"quern/bench/internal/peer"
)

// workload is an operation that is measured.
type workload struct {
	name string
	what string // describes one operation in the report

	// callers are the numbers of concurrent callers for the project and the
	// reference, and others are those for the other peers.
	callers, others []int

	// apart keeps the client and the server on different processors while there is one caller. The
	// kernel would put both on one processor in some rounds and not in others, and a round trip
	// takes 25 µs on one and 60 µs on two.
	apart bool

	// from builds a peer's operation from its Ops. If it is nil, the workload
	// measures the operation with its own name and each of its forms.
	from func(ops map[string]measure.Op) measure.Op

	// compared is how many answers are compared before the measurement. It is 0 if
	// there is nothing to compare.
	compared int

	// counts selects a number that each operation increases by perOp, so that a
	// peer that has not done the work that it reports fails. If perOp is 0, the
	// number increases by one for each reported row.
	counts string
	perOp  int64

	// state selects a text that describes the state of the database after an
	// operation.
	state string

	// after undoes the workload's changes. It is nil if it changes nothing.
	after func(context.Context, *bench) error
}

// The numbers of callers: for all measurements, for other peers, and one.
var (
	many = []int{1, 4, 16, 64, 256}
	few  = []int{1, 64}
	one  = []int{1}
)

const (
	countUsers  = "SELECT count(*) FROM users"
	sumVersions = "SELECT sum(version) FROM users"
)

func restore(ctx context.Context, b *bench) error { return b.db.Restore(ctx) }
func settle(ctx context.Context, b *bench) error  { return b.db.Settle(ctx) }
func empty(ctx context.Context, b *bench) error   { return b.db.Empty(ctx) }

// mainWorkloads run on the database of 100,000 users.
var mainWorkloads = []workload{
	{name: "point", what: "one user by a random id", callers: many, others: []int{1, 64, 256}, compared: 200, apart: true},
	{
		name: "point-cancel", what: "the same, one call in ten cancelled at a random moment. Calls that complete are counted",
		callers: []int{8}, from: cancelled,
	},
	{
		name: "insert", what: "one user, its row returned", callers: many, others: few,
		compared: 5, counts: countUsers, after: restore, apart: true,
	},
	{
		name: "insert-conflict", what: "the same, one username in a hundred exists already",
		callers: []int{64}, from: conflicting("insert"), counts: countUsers, after: restore,
	},
	{
		name: "mixed", what: "nine reads of a user to one insert, some ids far more often than others", callers: []int{64, 256},
		from: mixed, counts: countUsers, after: restore,
	},
	{
		name: "tx", what: "a user and a post of that user in one transaction", callers: []int{1, 4, 64, 256}, others: few,
		compared: 5, counts: "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM posts)", perOp: 2, after: restore,
		apart: true,
	},
	{
		name: "tx-conflict", what: "the same, one username in a hundred exists already", callers: []int{64},
		from: conflicting("tx"), counts: countUsers, after: restore,
	},
	{name: "eager", what: "1000 users and their 10 posts each", callers: one, others: one, compared: 1},
	{name: "page", what: "100 users after a random id", callers: one, others: one, compared: 1, apart: true},
	{name: "list-1000", what: "1000 users as a list", callers: one, others: one, compared: 3},
	{name: "list-10000", what: "10,000 users as a list", callers: one, others: one, compared: 2},
	{name: "stream-1000", what: "1000 users read one by one, without a list", callers: one, others: one, compared: 3},
	{name: "stream-10000", what: "10,000 users read one by one, without a list", callers: one, others: one, compared: 2},
	{name: "json-page", what: "a page of 100 users as JSON", callers: one, others: one, compared: 1},
	{name: "json-tree", what: "1000 users with their 10 posts each as JSON", callers: one, others: one, compared: 1},
	{name: "aggregate", what: "the users with more than 5 posts, with their number of posts", callers: one, others: one, compared: 1},
	{name: "stats-page", what: "the first 50 users with more than 5 posts", callers: one, compared: 1},
	{name: "overview", what: "the number of users, posts and users with posts", callers: one, compared: 1},
	{name: "top-tags", what: "the 50 most used tags", callers: one, compared: 1},
	{name: "posts-per-day", what: "the posts of 30 days", callers: one, compared: 1},
	{
		name: "bulk-update", what: "new ages for 10,000 users", callers: one, others: one,
		counts: sumVersions, perOp: peer.BulkRows, after: settle,
	},
	{name: "connections", what: "one user by a random id", callers: []int{16}, compared: 20},
}

// loadWorkload runs on a database without users.
var loadWorkload = workload{
	name: "bulk-load", what: "unsorted users into an empty table", callers: one, after: empty,
	state: `SELECT count(*) || ' ' || sum(hashtext(concat_ws('|', username, email, age, tags, created_at, updated_at, version))) FROM users`,
}

// sizeWorkloads run on tables of several sizes.
var sizeWorkloads = []workload{
	{name: "point", what: "one user by a random id", callers: one, apart: true},
	{name: "page", what: "100 users after a random id", callers: one, apart: true},
	{name: "deep-page", what: "100 users: the first page, and a page after nine tenths of the table", callers: one},
	{name: "aggregate", what: "the users with more than 5 posts", callers: one},
	{name: "stats-page", what: "the first 50 users with more than 5 posts", callers: one},
	{name: "overview", what: "the number of users, posts and users with posts", callers: one},
	{name: "top-tags", what: "the 50 most used tags", callers: one},
	{name: "posts-per-day", what: "the posts of 30 days", callers: one},
	{name: "import", what: "10,000 new users", callers: one, counts: countUsers, perOp: peer.ImportRows, after: restore},
}

// cancelled cancels one read in ten, within the time that most reads take.
func cancelled(ops map[string]measure.Op) measure.Op {
	point := ops["point"]
	if point == nil {
		return nil
	}
	const most = time.Millisecond
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		if !in.Chance(10) {
			return point(ctx, in, f)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		timer := time.AfterFunc(rand.N(most), cancel)
		defer timer.Stop()
		return point(ctx, in, f)
	}
}

// conflicting makes one username in a hundred of an operation one that already exists.
func conflicting(name string) func(ops map[string]measure.Op) measure.Op {
	return func(ops map[string]measure.Op) measure.Op {
		op := ops[name]
		if op == nil {
			return nil
		}
		return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
			in.Duplicates = 1
			return op(ctx, in, f)
		}
	}
}

// mixed reads in nine of ten calls, some users far more often than others.
func mixed(ops map[string]measure.Op) measure.Op {
	point, insert := ops["point"], ops["insert"]
	if point == nil || insert == nil {
		return nil
	}
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		if in.Chance(10) {
			return insert(ctx, in, f)
		}
		in.Skewed = true
		return point(ctx, in, f)
	}
}

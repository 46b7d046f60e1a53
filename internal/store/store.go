// Package store holds the operations on data that take more than one statement. For
// a single statement, callers use db.Queries directly.
//
// Users (user.go, user_bulk.go)
//
//	RegisterUser       a user and its first posts, in one transaction
//	PatchUsers         change some columns of many users in one statement
//	DeleteUsers        remove many users and their posts in one statement
//	PageUsers          a page of users, filtered, forward or back
//	PageUsersWithPosts the same, each user with all posts
//
// Posts (post.go)
//
//	PageUserPosts      a page of a user's posts
//
// Tasks (task*.go)
//
//	CreateTasks        many tasks in one statement
//	ClaimTasks         tasks for a worker, or wait for some
//	ExtendLease        extend the lease of a task
//	CompleteTask       end a task, unless another worker has it
//	FinishTask         the same without returning the task
//	CompleteTasks      the same for many tasks in one statement
//	FailTask           end an attempt at a task
//	ReleaseTask        end a lease without using an attempt
//	CancelTask         end a task that is pending or running
//	RetryTask          make a failed or cancelled task pending again
//	DeleteTask         remove a task that is not running
//	PageTasks          a page of tasks, by name and status
//	SweepTasks         remove tasks that ended long ago
//	AnnounceTasks      wake claims that wait for tasks
//
// Idempotency keys and background work (idempotency.go, background.go)
//
//	Once                  run the request of one key at most once
//	SweepIdempotencyKeys  delete old keys
//	Run                   listen for tasks, fold counts, remove expired rows
//
// API tokens (token.go, token_verify.go)
//
//	CreateToken        a new token, of which only the hash is stored
//	EachToken          all tokens
//	RevokeToken        make a token invalid
//	Tokens             verifies tokens, mostly from memory
//
// Bulk data (import.go, user_import.go, post_import.go, export*.go, seed.go)
//
//	ImportUsers        from CSV or NDJSON, each row once even if it is interrupted
//	ImportPosts        the same
//	ExportUsers        to CSV or NDJSON, from one snapshot
//	ExportPosts        the same
//	OldestExport       age of the oldest running export
//	Seed               demo data
//
// Statistics and kept counts (stats.go, count.go)
//
//	UserStats          a page of the users with more than N posts
//	FoldCounts         add the deltas of posts and users to the kept counts
//	CheckCounts        compare the kept counts with the rows
//
// Errors are those of package postgres and the Err values of this one, wrapped with the
// name of the operation.
package store

import (
	"context"
	"fmt"

	"quern/internal/db"
)

// Store implements the operations. It is safe for concurrent use.
type Store struct {
	q        *db.Queries
	notifier *taskNotifier
	exports  *exports
	limits   *importLimits
	within   bool // q may be a transaction that other calls are not part of
}

// New returns a Store whose operations run on q. On the Router, each has its own
// transaction. On a transaction's Queries, they are part of that transaction. All Stores
// that New returns share the default Limits.
func New(q *db.Queries) *Store { return newStore(q, processLimits) }

// NewWithLimits is like New, but with other Limits. It is for a process with one Store.
func NewWithLimits(q *db.Queries, l Limits) *Store { return newStore(q, newImportLimits(l)) }

func newStore(q *db.Queries, l *importLimits) *Store {
	return &Store{q: q, notifier: newTaskNotifier(), exports: &exports{}, limits: l}
}

// On returns a copy of s whose operations run on q, as with New, for example as part of q's
// transaction. It shares the limits of s, and wakes the same waiting claims.
func (s *Store) On(q *db.Queries) *Store {
	on := *s
	on.q, on.within = q, true
	return &on
}

// InTx runs fn in a transaction. It commits if fn returns nil, and rolls back if fn returns an
// error or panics, or if ctx is cancelled. Within a transaction, which means on New(q) with the
// q of another InTx, it sets a savepoint.
func (s *Store) InTx(ctx context.Context, fn func(q *db.Queries) error) error {
	return s.q.InTx(ctx, fn)
}

// annotate wraps err with the name of the operation.
func annotate(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf(format+": %w", append(args, *err)...)
	}
}

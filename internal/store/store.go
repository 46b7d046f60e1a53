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
// Tasks (task.go, task_claim.go, task_manage.go, task_notifier.go)
//
//	CreateTasks        many tasks in one statement
//	ClaimTasks         tasks for a worker, or wait for some
//	ExtendLease        keep a task for longer
//	CompleteTask       end a task, unless someone else has it by now
//	FailTask           end an attempt at a task, for another or for good
//	ReleaseTask        give a task back without using an attempt
//	CancelTask         end a task that is pending or running
//	RetryTask          give a task that ended another attempt
//	DeleteTask         remove a task that is not running
//	PageTasks          a page of tasks, by name and status
//	SweepTasks         remove tasks that ended long ago
//	AnnounceTasks      wake claimers that wait for tasks
//
// Repeated requests and background work (idempotency.go, background.go)
//
//	Once                  run the request of one key at most once
//	SweepIdempotencyKeys  forget old keys
//	Run                   listen for tasks, remove expired rows
//
// Rows by the million (import.go, user_import.go, post_import.go, export*.go, seed.go)
//
//	ImportUsers        from CSV or NDJSON, each row once however often it breaks off
//	ImportPosts        the same
//	ExportUsers        to CSV or NDJSON, as of one moment
//	ExportPosts        the same
//	OldestExport       how old the oldest snapshot of an export is
//	Seed               demo data
//
// Statistics (stats.go)
//
//	UserStats          a page of the users with more than N posts
//
// Errors are those of package postgres and the Err values of this one, wrapped
// with the act that met them.
package store

import (
	"context"
	"fmt"

	"quern/internal/db"
)

// Store holds the acts. It is safe for concurrent use.
type Store struct {
	q        *db.Queries
	notifier *taskNotifier
	exports  *exports
	limits   *importLimits
}

// New returns a Store whose acts run on q: on the Router each in its own
// transaction, on a transaction's Queries as part of it. All Stores that New
// returns share the default Limits.
func New(q *db.Queries) *Store { return newStore(q, processLimits) }

// NewWithLimits is New for a process that has one Store and sets its Limits.
func NewWithLimits(q *db.Queries, l Limits) *Store { return newStore(q, newImportLimits(l)) }

func newStore(q *db.Queries, l *importLimits) *Store {
	return &Store{q: q, notifier: newTaskNotifier(), exports: &exports{}, limits: l}
}

// On returns s with its acts running on q, as New does: a part of the transaction
// that q belongs to. It shares the limits of s, and wakes the same claimers.
func (s *Store) On(q *db.Queries) *Store {
	on := *s
	on.q = q
	return &on
}

// InTx runs fn in a transaction: it commits when fn returns nil and rolls back
// when fn returns an error or panics, or when ctx ends. Inside a transaction,
// that is on New(q) of another InTx, it is a savepoint.
func (s *Store) InTx(ctx context.Context, fn func(q *db.Queries) error) error {
	return s.q.InTx(ctx, fn)
}

// annotate adds what was being done to the error that ended it.
func annotate(err *error, format string, args ...any) {
	if *err != nil {
		*err = fmt.Errorf(format+": %w", append(args, *err)...)
	}
}

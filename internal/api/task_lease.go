package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/postgres"
	"quern/internal/store"
)

// TaskClaim asks for tasks.
type TaskClaim struct {
	Worker       string `json:"worker" minLength:"1" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"worker-3" doc:"Who asks. Workers of the same name are told apart by the attempts of their leases."`
	Limit        int    `json:"limit,omitempty" minimum:"1" maximum:"1000" default:"1" example:"10" doc:"How many tasks at most."`
	LeaseSeconds int    `json:"lease_seconds,omitempty" minimum:"1" maximum:"86400" default:"60" example:"60" doc:"How long nobody else is given them."`
	WaitSeconds  int    `json:"wait_seconds,omitempty" minimum:"0" maximum:"30" default:"0" example:"20" doc:"How long to wait for a task when there is none."`
}

type taskClaim struct {
	strict
	Keyed
	Body TaskClaim
}

// TaskLease names the lease that a worker holds.
type TaskLease struct {
	Worker   string `json:"worker" minLength:"1" maxLength:"100" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"worker-3" doc:"As it claimed the task."`
	Attempts int32  `json:"attempts" minimum:"1" example:"1" doc:"The attempts of the task as it was claimed."`
}

type taskComplete struct {
	strict
	Keyed
	ID   int64 `path:"id" example:"11"`
	Body TaskLease
}

// of is the lease as the store takes it.
func (l TaskLease) of(task int64) store.Lease {
	return store.Lease{TaskID: task, Worker: l.Worker, Attempts: l.Attempts}
}

// TaskExtension lets a lease end later.
type TaskExtension struct {
	TaskLease
	LeaseSeconds int `json:"lease_seconds,omitempty" minimum:"1" maximum:"86400" default:"60" example:"60" doc:"How long from now it is to last."`
}

type taskExtend struct {
	strict
	Keyed
	ID   int64 `path:"id" example:"11"`
	Body TaskExtension
}

// TaskFailure says why an attempt failed.
type TaskFailure struct {
	TaskLease
	Error             string        `json:"error,omitempty" maxLength:"1000" pattern:"^[^\\x00]*$" patternDescription:"without NUL characters" example:"connection refused" doc:"Kept as last_error."`
	RetryAfterSeconds Optional[int] `json:"retry_after_seconds,omitzero" nullable:"true" minimum:"0" maximum:"31536000" example:"30" doc:"When the task may be claimed again, if it has attempts left. Without it, or null, the task has failed for good."`
}

type taskFail struct {
	strict
	Keyed
	ID   int64 `path:"id" example:"11"`
	Body TaskFailure
}

// TasksClaimed is the tasks that a worker was given.
type TasksClaimed struct {
	Items []Task `json:"items" doc:"Those that have been due for longest come first. None when there are none."`
}

type tasksClaimed struct {
	Replay
	Body TasksClaimed
}

func (s *server) registerLeases() {
	tags := []string{"tasks"}
	register(s, huma.Operation{
		OperationID: "claimTasks", Method: http.MethodPost, Path: "/v1/tasks/claim", Tags: tags,
		Summary: "Claim tasks",
		Description: "Gives a worker tasks for the time of a lease: first those whose lease ran out, then those that have been due for longest. " +
			"No task is given to two at a time; one whose lease ran out is given away again, or has failed when that was its last attempt.",
	}, writes(codeKeyReused, codeKeyInFlight), s.claimTasks)
	write(s, huma.Operation{
		OperationID: "extendTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/extend", Tags: tags,
		Summary:     "Keep a task for longer",
		Description: "A lease that ran out can be extended as long as nobody else has claimed the task.",
	}, writes(codeNotFound, codeLeaseLost), s.extendTask)
	write(s, huma.Operation{
		OperationID: "completeTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/complete", Tags: tags,
		Summary:     "Complete a task",
		Description: "May be repeated with the same lease: it is completed once.",
	}, writes(codeNotFound, codeLeaseLost), s.completeTask)
	write(s, huma.Operation{
		OperationID: "failTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/fail", Tags: tags,
		Summary:     "Fail a task",
		Description: "Ends an attempt: for good, or until it may be claimed again. May be repeated with the same lease.",
	}, writes(codeNotFound, codeLeaseLost), s.failTask)
}

// claimTime is what a claim has left of its budget when it stops waiting: it
// looks a last time.
const claimTime = time.Second

// errNoTasks undoes the transaction of a claim that has time left to wait for tasks.
var errNoTasks = errors.New("no tasks are due")

// claimTasks waits outside of any transaction. So a claim with a key claims and
// waits in turn, and keeps the answer of its last look, which may be none.
func (s *server) claimTasks(ctx context.Context, in *taskClaim) (*tasksClaimed, error) {
	wait := seconds(in.Body.WaitSeconds)
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(0, min(wait, time.Until(deadline)-claimTime))
	}
	if in.IdempotencyKey == "" {
		return in.claim(ctx, s.Store, wait)
	}
	until, looking := time.Now().Add(wait), ctx
	for {
		out, err := once(looking, s, in.IdempotencyKey, "", func(q *db.Queries) (*tasksClaimed, error) {
			out, err := in.claim(looking, s.Store.On(q), 0)
			if err == nil && len(out.Body.Items) == 0 && time.Now().Before(until) {
				return nil, errNoTasks
			}
			return out, err
		})
		if !errors.Is(err, errNoTasks) {
			return out, err
		}
		if !s.Store.WaitForTasks(ctx, time.Until(until)) {
			until = time.Time{}
		}
		// Only the first look counts for the request, as in store.ClaimTasks.
		looking, _ = postgres.WithStats(ctx)
	}
}

func (in *taskClaim) claim(ctx context.Context, on *store.Store, wait time.Duration) (*tasksClaimed, error) {
	rows, err := on.ClaimTasks(ctx, store.Claim{
		Worker: in.Body.Worker, Limit: in.Body.Limit, Lease: seconds(in.Body.LeaseSeconds), Wait: wait,
	})
	if err != nil {
		return nil, err
	}
	return &tasksClaimed{Body: TasksClaimed{Items: tasksOf(rows)}}, nil
}

func (s *server) extendTask(ctx context.Context, q *db.Queries, in *taskExtend) (*taskChanged, error) {
	return changedTask(s.Store.On(q).ExtendLease(ctx, in.Body.of(in.ID), seconds(in.Body.LeaseSeconds)))
}

func (s *server) completeTask(ctx context.Context, q *db.Queries, in *taskComplete) (*taskChanged, error) {
	return changedTask(s.Store.On(q).CompleteTask(ctx, in.Body.of(in.ID)))
}

func (s *server) failTask(ctx context.Context, q *db.Queries, in *taskFail) (*taskChanged, error) {
	failure := store.Failure{Error: in.Body.Error}
	if after := in.Body.RetryAfterSeconds.ptr(); after != nil {
		failure.RetryAfter = new(seconds(*after))
	}
	return changedTask(s.Store.On(q).FailTask(ctx, in.Body.of(in.ID), failure))
}

func changedTask(t *db.Task, err error) (*taskChanged, error) {
	if err != nil {
		return nil, err
	}
	return &taskChanged{Body: taskOf(t)}, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

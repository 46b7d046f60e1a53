package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// TaskClaim is the body of a request that claims tasks.
type TaskClaim struct {
	Worker       string    `json:"worker" minLength:"1" maxLength:"100" example:"worker-3" doc:"Name of the worker. Workers with the same name are distinguished by the attempts of their leases."`
	Name         taskNames `json:"name,omitempty" doc:"Name of the tasks, or a list of up to 20 names. Defaults to tasks of any name."`
	Limit        int       `json:"limit,omitempty" minimum:"1" maximum:"1000" default:"1" example:"10" doc:"Maximum number of tasks."`
	LeaseSeconds int       `json:"lease_seconds,omitempty" minimum:"1" maximum:"86400" default:"60" example:"60" doc:"Duration of the lease, during which no other worker can claim the tasks."`
	WaitSeconds  int       `json:"wait_seconds,omitempty" minimum:"0" maximum:"30" default:"0" example:"20" doc:"How long to wait for a task if none is due."`
}

type taskClaim struct {
	strict
	Keyed
	Body TaskClaim
}

// maxNames is how many names a claim may have. A claim locks up to its limit of tasks of
// each name until it has committed.
const maxNames = 20

// taskNames is a name, or a list of names.
type taskNames []string

// UnmarshalJSON decodes a text as a list of one. It returns no error for another type,
// because that would hide errors in other members. The validator reports it.
func (n *taskNames) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*n = taskNames{one}
		return nil
	}
	_ = json.Unmarshal(text, (*[]string)(n))
	return nil
}

// Schema allows both forms.
func (taskNames) Schema(huma.Registry) *huma.Schema {
	name := func() *huma.Schema {
		return &huma.Schema{
			Type: huma.TypeString, MinLength: new(1), MaxLength: new(maxTaskName),
		}
	}
	s := &huma.Schema{Examples: []any{"send_mail"}, OneOf: []*huma.Schema{
		name(),
		{Type: huma.TypeArray, Items: name(), MinItems: new(1), MaxItems: new(maxNames), UniqueItems: true},
	}}
	s.PrecomputeMessages()
	return s
}

// TaskLease identifies the lease that a worker holds.
type TaskLease struct {
	Worker   string `json:"worker" minLength:"1" maxLength:"100" example:"worker-3" doc:"The worker that claimed the task."`
	Attempts int32  `json:"attempts" minimum:"1" example:"1" doc:"The attempts of the task when it was claimed."`
}

type taskComplete struct {
	strict
	Keyed
	ID   int64 `path:"id" example:"11"`
	Body TaskLease
}

// LeaseRef identifies the lease of one of many tasks.
type LeaseRef struct {
	ID int64 `json:"id" example:"11"`
	TaskLease
}

type tasksComplete struct {
	strict
	Keyed
	Body []LeaseRef `maxItems:"1000"`
}

// Resolve refuses an id that is given twice.
func (c *tasksComplete) Resolve(ctx huma.Context) []error {
	return append(c.strict.Resolve(ctx), twice(c.Body, func(r LeaseRef) int64 { return r.ID })...)
}

// TasksCompleted is the result of completing many tasks.
type TasksCompleted struct {
	Completed int     `json:"completed" example:"8" doc:"Number of tasks that are completed, by this request or by an earlier one with the same lease."`
	NotFound  []int64 `json:"not_found" example:"[7]" doc:"The ids that no task has."`
	LeaseLost []int64 `json:"lease_lost" example:"[9]" doc:"The ids of tasks whose lease the worker no longer holds, because another worker has claimed the task, or the task has ended."`
}

// of returns the lease as the store's type.
func (l TaskLease) of(task int64) store.Lease {
	return store.Lease{TaskID: task, Worker: l.Worker, Attempts: l.Attempts}
}

// TaskExtension is the body of a request that extends a lease.
type TaskExtension struct {
	TaskLease
	LeaseSeconds int `json:"lease_seconds,omitempty" minimum:"1" maximum:"86400" default:"60" example:"60" doc:"Duration of the lease from now on."`
}

type taskExtend struct {
	strict
	Keyed
	ID   int64 `path:"id" example:"11"`
	Body TaskExtension
}

// TaskFailure is the body of a request that reports a failed attempt.
type TaskFailure struct {
	TaskLease
	Error             string         `json:"error,omitempty" maxLength:"1000" example:"connection refused" doc:"Stored as last_error."`
	RetryAfterSeconds Nullable[int]  `json:"retry_after_seconds,omitzero" minimum:"0" maximum:"31536000" example:"30" doc:"Delay before the task may be claimed again, if it has attempts left. By default, or if null, the delay doubles with each attempt, from 1 s to about an hour, plus up to 50 % of jitter."`
	Retry             Optional[bool] `json:"retry,omitzero" example:"true" doc:"If false, the task is not tried again, even if it has attempts left. Defaults to true."`
}

// Resolve rejects a delay if the task must not be retried.
func (f *TaskFailure) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	if f.final() && f.RetryAfterSeconds.ptr() != nil {
		return []error{&huma.ErrorDetail{Location: at.With("retry_after_seconds"), Message: "cannot be combined with retry false"}}
	}
	return nil
}

// final reports whether the task must not be tried again.
func (f *TaskFailure) final() bool { return f.Retry.Set && !f.Retry.Null && !f.Retry.Value }

type taskFail struct {
	strict
	Keyed
	ID   int64 `path:"id" example:"11"`
	Body TaskFailure
}

// TasksClaimed has the tasks that were leased to a worker.
type TasksClaimed struct {
	Items []Task `json:"items" doc:"The claimed tasks. Those that have been due the longest come first. Empty if no task is due."`
}

func (c TasksClaimed) appendJSON(b []byte) []byte {
	b = append(b, `{"items":[`...)
	for i, t := range c.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.appendJSON(b)
	}
	return append(b, ']', '}')
}

func (s *server) registerLeases() {
	tags := []string{"tasks"}
	register(s, huma.Operation{
		OperationID: "claimTasks", Method: http.MethodPost, Path: "/v1/tasks/claim", Tags: tags,
		Summary: "Claim tasks",
		Description: "Leases tasks to a worker: those that have been due the longest, of any name or of the given names. " +
			"A task is leased to one worker at a time. If its lease expires, it is due again 1 s later. This delay doubles with each attempt, up to about an hour. " +
			"If that was its last attempt, it has failed.",
	}, writes(codeKeyReused, codeKeyInFlight), s.claimTasks)
	write(s, huma.Operation{
		OperationID: "extendTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/extend", Tags: tags,
		Summary:     "Extend a lease",
		Description: "An expired lease can be extended if no other worker has claimed the task.",
	}, writes(codeNotFound, codeLeaseLost), s.extendTask)
	write(s, huma.Operation{
		OperationID: "completeTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/complete", Tags: tags,
		Summary:     "Complete a task",
		Description: "The request may be repeated with the same lease: the task is completed once.",
	}, writes(codeNotFound, codeLeaseLost), s.completeTask)
	write(s, huma.Operation{
		OperationID: "completeTasks", Method: http.MethodPost, Path: "/v1/tasks/bulk-complete", Tags: tags, MaxBodyBytes: maxBulkBytes,
		Summary: "Complete many tasks",
		Description: "Completes up to 1,000 tasks in one statement, such as those of one claim. " +
			"Tasks that are missing or whose lease is lost are listed in the response, and the others are completed. The request may be repeated with the same leases.",
	}, writes(), s.completeTasks)
	write(s, huma.Operation{
		OperationID: "failTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/fail", Tags: tags,
		Summary: "Fail a task",
		Description: "Ends an attempt. The task is pending again, and due after a delay that doubles with each attempt. " +
			"It has failed if it has no attempts left, or if `retry` is false. The request may be repeated with the same lease.",
	}, writes(codeNotFound, codeLeaseLost), s.failTask)
	write(s, huma.Operation{
		OperationID: "releaseTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/release", Tags: tags,
		Summary:     "Release a task",
		Middlewares: huma.Middlewares{s.announceTasks},
		Description: "Ends a lease without using an attempt, for a worker that shuts down. The task is pending and due again. " +
			"`attempts` stays the same, because it identifies the lease, and `max_attempts` increases by one. The request may be repeated with the same lease.",
	}, writes(codeNotFound, codeLeaseLost), s.releaseTask)
}

// claimTime is the part of its budget that a claim reserves for a last attempt after it
// stops waiting.
const claimTime = time.Second

// errNoTasks rolls back the transaction of a claim that found nothing and has time left to
// wait.
var errNoTasks = errors.New("no tasks are due")

// claimTasks waits outside of any transaction. So a claim with a key alternates between
// claiming and waiting, and stores the response of its last attempt, which may be empty.
func (s *server) claimTasks(ctx context.Context, in *taskClaim) (*written[TasksClaimed], error) {
	wait := seconds(in.Body.WaitSeconds)
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(0, min(wait, time.Until(deadline)-claimTime))
	}
	if in.IdempotencyKey == "" {
		return in.claim(ctx, s.Store, wait)
	}
	waits, leave := s.Store.WaitForTasks(in.Body.Name)
	defer leave()
	until, looking := time.Now().Add(wait), ctx
	for {
		out, err := once(looking, s, in.IdempotencyKey, "", func(q *db.Queries) (*written[TasksClaimed], error) {
			out, err := in.claim(looking, s.Store.On(q), 0)
			if err == nil && len(out.Body.Items) == 0 && time.Now().Before(until) {
				return nil, errNoTasks
			}
			return out, err
		})
		if !errors.Is(err, errNoTasks) {
			return out, err
		}
		if !waits(ctx, time.Until(until)) {
			until = time.Time{}
		}
		// Only the first attempt counts for the query budget of the request, as in
		// store.ClaimTasks.
		looking, _ = postgres.WithStats(ctx)
	}
}

func (in *taskClaim) claim(ctx context.Context, on *store.Store, wait time.Duration) (*written[TasksClaimed], error) {
	rows, err := on.ClaimTasks(ctx, store.Claim{
		Worker: in.Body.Worker, Names: in.Body.Name, Limit: in.Body.Limit, Lease: seconds(in.Body.LeaseSeconds), Wait: wait,
	})
	if err != nil {
		return nil, err
	}
	return &written[TasksClaimed]{Body: TasksClaimed{Items: tasksOf(rows)}}, nil
}

func (s *server) extendTask(ctx context.Context, q *db.Queries, in *taskExtend) (*written[Task], error) {
	return changedTask(s.Store.On(q).ExtendLease(ctx, in.Body.of(in.ID), seconds(in.Body.LeaseSeconds)))
}

func (s *server) completeTask(ctx context.Context, q *db.Queries, in *taskComplete) (*written[Task], error) {
	return changedTask(s.Store.On(q).CompleteTask(ctx, in.Body.of(in.ID)))
}

func (s *server) completeTasks(ctx context.Context, q *db.Queries, in *tasksComplete) (*written[TasksCompleted], error) {
	leases := make([]store.Lease, len(in.Body))
	for i, r := range in.Body {
		leases[i] = r.of(r.ID)
	}
	c, err := s.Store.On(q).CompleteTasks(ctx, leases)
	if err != nil {
		return nil, err
	}
	return &written[TasksCompleted]{Body: TasksCompleted{Completed: c.Done, NotFound: list(c.Missing), LeaseLost: list(c.Lost)}}, nil
}

func (s *server) failTask(ctx context.Context, q *db.Queries, in *taskFail) (*written[Task], error) {
	failure := store.Failure{Error: in.Body.Error, Final: in.Body.final()}
	if after := in.Body.RetryAfterSeconds.ptr(); after != nil {
		failure.RetryAfter = new(seconds(*after))
	}
	return changedTask(s.Store.On(q).FailTask(ctx, in.Body.of(in.ID), failure))
}

func (s *server) releaseTask(ctx context.Context, q *db.Queries, in *taskComplete) (*written[Task], error) {
	return changedTask(s.Store.On(q).ReleaseTask(ctx, in.Body.of(in.ID)))
}

func changedTask(t *db.Task, err error) (*written[Task], error) {
	if err != nil {
		return nil, err
	}
	return &written[Task]{Body: taskOf(t)}, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

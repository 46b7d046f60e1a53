package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/jsonfmt"
	"quern/internal/store"
)

// maxTaskName is the length limit of a task's name, in characters.
const maxTaskName = 200

// Task is a task on the wire.
type Task struct {
	ID          int64           `json:"id" example:"11"`
	Name        string          `json:"name" example:"send_mail"`
	Payload     json.RawMessage `json:"payload" example:"{\"to\":\"ada@example.org\"}"`
	Status      string          `json:"status" enum:"pending,running,completed,failed,cancelled" example:"running"`
	Attempts    int32           `json:"attempts" example:"1" doc:"How often the task was claimed. Together with the worker, it identifies the lease."`
	MaxAttempts int32           `json:"max_attempts" example:"10" doc:"Maximum number of attempts. Each release increases it by one."`
	Worker      *string         `json:"worker" example:"worker-3" doc:"The worker that has the task, or had it last."`
	LeaseUntil  *time.Time      `json:"lease_until" example:"2026-01-31T12:01:00Z" doc:"When the lease expires; null unless the task is running."`
	RunAt       time.Time       `json:"run_at" example:"2026-01-31T12:00:00Z" doc:"When the task may be claimed. After it was claimed, when that attempt was due."`
	LastError   *string         `json:"last_error" example:"connection refused" doc:"The error of the last failed attempt."`
	CreatedAt   time.Time       `json:"created_at" example:"2026-01-31T12:00:00Z"`
	UpdatedAt   time.Time       `json:"updated_at" example:"2026-01-31T12:00:00Z"`
}

func taskOf(t *db.Task) Task {
	task := Task{
		ID: t.ID, Name: t.Name, Payload: t.Payload, Status: string(t.Status), Attempts: t.Attempts, MaxAttempts: t.MaxAttempts,
		Worker: t.Worker, RunAt: t.RunAt.UTC(), LastError: t.LastError, CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(),
	}
	if t.LeaseUntil != nil {
		task.LeaseUntil = new(t.LeaseUntil.UTC())
	}
	return task
}

func (t Task) appendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, t.ID, 10)
	b = append(b, `,"name":`...)
	b = jsonfmt.AppendString(b, t.Name)
	b = append(b, `,"payload":`...)
	b = appendCompact(b, t.Payload)
	b = append(b, `,"status":`...)
	b = jsonfmt.AppendString(b, t.Status)
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(t.Attempts), 10)
	b = append(b, `,"max_attempts":`...)
	b = strconv.AppendInt(b, int64(t.MaxAttempts), 10)
	b = append(b, `,"worker":`...)
	b = appendText(b, t.Worker)
	b = append(b, `,"lease_until":`...)
	if t.LeaseUntil != nil {
		b = append(jsonfmt.AppendTime(append(b, '"'), *t.LeaseUntil), '"')
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"run_at":"`...)
	b = jsonfmt.AppendTime(b, t.RunAt)
	b = append(b, `","last_error":`...)
	b = appendText(b, t.LastError)
	b = append(b, `,"created_at":"`...)
	b = jsonfmt.AppendTime(b, t.CreatedAt)
	b = append(b, `","updated_at":"`...)
	b = jsonfmt.AppendTime(b, t.UpdatedAt)
	return append(b, '"', '}')
}

// appendCompact appends a JSON text without white space, which PostgreSQL's jsonb has.
func appendCompact(b []byte, text json.RawMessage) []byte {
	if text == nil {
		return append(b, "null"...)
	}
	compact := bytes.NewBuffer(b)
	if err := json.Compact(compact, text); err != nil {
		panic(fmt.Errorf("encode the payload of a task: %w", err)) // jsonb is always valid
	}
	return compact.Bytes()
}

func tasksOf(rows []*db.Task) []Task {
	tasks := make([]Task, len(rows))
	for i, t := range rows {
		tasks[i] = taskOf(t)
	}
	return tasks
}

// NewTask is the body of a request that creates a task.
type NewTask struct {
	Name        string          `json:"name" minLength:"1" maxLength:"200" example:"send_mail" doc:"The kind of task, by which workers claim it."`
	Payload     json.RawMessage `json:"payload,omitempty" example:"{\"to\":\"ada@example.org\"}" doc:"Data for the worker: any JSON without NUL characters and duplicate members. Defaults to an empty object. The order of its members may change."`
	RunAt       time.Time       `json:"run_at,omitzero" example:"2026-01-31T12:00:00Z" doc:"When the task may be claimed. Defaults to now."`
	MaxAttempts int32           `json:"max_attempts,omitempty" minimum:"1" maximum:"1000" default:"10" example:"10" doc:"Maximum number of attempts, including those whose lease expired."`
}

// Resolve rejects text that PostgreSQL cannot store, and a time that a response cannot
// represent.
func (t *NewTask) Resolve(_ huma.Context, at *huma.PathBuffer) (errs []error) {
	if escapesNUL(t.Payload) {
		errs = append(errs, &huma.ErrorDetail{Location: at.With("payload"), Message: msgNotStorable})
	}
	if !store.StorableTime(t.RunAt) {
		errs = append(errs, &huma.ErrorDetail{Location: at.With("run_at"), Message: "expected a time within the years 0000 to 9999 in UTC"})
	}
	return errs
}

// escapesNUL reports whether a valid JSON text has a NUL character in a string.
func escapesNUL(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		if bytes.HasPrefix(text[i+1:], []byte("u0000")) {
			return true
		}
		text = text[i+2:]
	}
}

func (t *NewTask) payload() json.RawMessage {
	if t.Payload == nil {
		return json.RawMessage("{}")
	}
	return t.Payload
}

type taskCreate struct {
	strict
	Keyed
	Body NewTask
}

type tasksCreate struct {
	strict
	Keyed
	Body []NewTask `maxItems:"10000"`
}

type taskGet struct {
	strict
	ID int64 `path:"id" example:"11"`
}

type taskChange struct {
	strict
	Keyed
	ID int64 `path:"id" example:"11"`
}

type taskList struct {
	Paging
	Name   string `query:"name" minLength:"1" maxLength:"200" example:"send_mail" doc:"Only tasks with this name."`
	Status string `query:"status" enum:"pending,running,completed,failed,cancelled" doc:"Only tasks with this status."`
}

type taskCreated struct {
	Created
	Body Task
}

// TaskIDs has the ids of many tasks.
type TaskIDs struct {
	IDs []int64 `json:"ids" example:"[11,12]" doc:"In the order of the tasks in the request."`
}

type taskFound struct {
	Body Task
}

func (s *server) registerTasks() {
	tags := s.tag("tasks", "A queue of tasks that workers claim.")
	write(s, huma.Operation{
		OperationID: "createTask", Method: http.MethodPost, Path: "/v1/tasks", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary:     "Create a task",
		Description: "Adds a task that workers can claim.",
		Middlewares: huma.Middlewares{s.announceTasks},
	}, writes(), createTask)
	write(s, huma.Operation{
		OperationID: "createTasks", Method: http.MethodPost, Path: "/v1/tasks/bulk-create", Tags: tags, DefaultStatus: http.StatusCreated,
		MaxBodyBytes: maxBulkBytes, Middlewares: huma.Middlewares{s.announceTasks},
		Summary:     "Create many tasks",
		Description: "Adds up to 10,000 tasks in one statement: all of them or none.",
	}, writes(), createTasks)
	register(s, huma.Operation{
		OperationID: "getTask", Method: http.MethodGet, Path: "/v1/tasks/{id}", Tags: tags,
		Summary:     "Get a task",
		Description: "Returns a task in any status.",
	}, reads(codeNotFound), s.getTask)
	register(s, huma.Operation{
		OperationID: "listTasks", Method: http.MethodGet, Path: "/v1/tasks", Tags: tags,
		Summary:     "List tasks",
		Description: "In the order of their ids. A cursor is valid for the same name and status only.",
	}, reads(codeInvalidCursor), s.listTasks)
	write(s, huma.Operation{
		OperationID: "deleteTask", Method: http.MethodDelete, Path: "/v1/tasks/{id}", Tags: tags,
		Summary:     "Delete a task",
		Description: "A running task cannot be deleted, even if its lease has expired: cancel it first.",
		Middlewares: huma.Middlewares{s.audited("delete", "task")},
	}, writes(codeNotFound, codeTaskStatus), s.deleteTask)
	write(s, huma.Operation{
		OperationID: "cancelTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/cancel", Tags: tags,
		Summary:     "Cancel a task",
		Middlewares: huma.Middlewares{s.audited("cancel", "task")},
		Description: "Cancels a pending or running task. The worker of a running task gets 409 `lease_lost`, at the latest when it completes the task. The request may be repeated.",
	}, writes(codeNotFound, codeTaskStatus), s.cancelTask)
	write(s, huma.Operation{
		OperationID: "retryTask", Method: http.MethodPost, Path: "/v1/tasks/{id}/retry", Tags: tags,
		Summary:     "Retry a task",
		Middlewares: huma.Middlewares{s.announceTasks, s.audited("retry", "task")},
		Description: "Makes a failed or cancelled task pending and due, with one more attempt if it has none left. " +
			"A pending task that is due later becomes due.",
	}, writes(codeNotFound, codeTaskStatus), s.retryTask)
	s.registerLeases()
}

// announceTasks wakes waiting claims after an operation has made tasks due and has
// committed.
func (s *server) announceTasks(ctx huma.Context, next func(huma.Context)) {
	next(ctx)
	if ctx.Status() < http.StatusMultipleChoices {
		s.Store.AnnounceTasks()
	}
}

func createTask(ctx context.Context, q *db.Queries, in *taskCreate) (*taskCreated, error) {
	row := db.CreateTaskParams{Name: in.Body.Name, Payload: in.Body.payload(), MaxAttempts: &in.Body.MaxAttempts}
	if !in.Body.RunAt.IsZero() {
		row.RunAt = &in.Body.RunAt
	}
	t, err := q.CreateTask(ctx, row)
	if err != nil {
		return nil, err
	}
	return &taskCreated{Created: Created{Location: "/v1/tasks/" + strconv.FormatInt(t.ID, 10)}, Body: taskOf(t)}, nil
}

func createTasks(ctx context.Context, q *db.Queries, in *tasksCreate) (*written[TaskIDs], error) {
	tasks := make([]store.NewTask, len(in.Body))
	for i, t := range in.Body {
		tasks[i] = store.NewTask{Name: t.Name, Payload: t.payload(), RunAt: t.RunAt, MaxAttempts: t.MaxAttempts}
	}
	created, err := store.New(q).CreateTasks(ctx, tasks)
	return &written[TaskIDs]{Body: TaskIDs{IDs: created}}, err
}

func (s *server) getTask(ctx context.Context, in *taskGet) (*taskFound, error) {
	t, err := s.Queries.GetTask(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &taskFound{Body: taskOf(t)}, nil
}

func (s *server) listTasks(ctx context.Context, in *taskList) (*listed[Task], error) {
	list := "tasks?status=" + in.Status
	if in.Name != "" {
		list += "&name=" + in.Name
	}
	filter := store.TaskFilter{Name: in.Name}
	if in.Status != "" {
		filter.Status = new(db.TaskStatus(in.Status))
	}
	return pageOf(&in.Paging, list, func(t **db.Task) Task { return taskOf(*t) },
		whole(func(r store.PageRequest[int64]) (store.Page[int64, *db.Task], error) {
			return s.Store.PageTasks(ctx, filter, r)
		}))
}

func (s *server) deleteTask(ctx context.Context, q *db.Queries, in *taskChange) (*deleted, error) {
	return &deleted{}, s.Store.On(q).DeleteTask(ctx, in.ID)
}

func (s *server) cancelTask(ctx context.Context, q *db.Queries, in *taskChange) (*written[Task], error) {
	return changedTask(s.Store.On(q).CancelTask(ctx, in.ID))
}

func (s *server) retryTask(ctx context.Context, q *db.Queries, in *taskChange) (*written[Task], error) {
	return changedTask(s.Store.On(q).RetryTask(ctx, in.ID))
}

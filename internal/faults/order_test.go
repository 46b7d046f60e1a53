//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// order is an insert that a caller requests, with its expected result.
type order struct {
	statement string
	name      string   // the username, title or name
	refusal   *refusal // nil if it must be stored, unless a rival has the name
	rival     bool     // other orders request the same name, and one of them gets it
	undone    bool     // in a transaction that is rolled back
	place     func(ctx context.Context, q *db.Queries) (any, error)
	fits      func(row any) bool // reports whether the row is the requested one
}

// refusal is the error that an insert must return.
type refusal struct {
	kind               error
	constraint, column string
}

// matches reports whether err is the refusal of one call of the statement, with
// all details that its caller needs.
func (r refusal) matches(err error, statement string) bool {
	var e *postgres.Error
	return errors.Is(err, r.kind) && errors.As(err, &e) && e.Statement == statement &&
		e.Constraint == r.constraint && e.Column == r.column
}

var taken = refusal{kind: postgres.ErrUnique, constraint: "users_username_key"}

func check(constraint string) *refusal {
	return &refusal{kind: postgres.ErrCheck, constraint: constraint}
}

var invalid = &refusal{kind: postgres.ErrInvalidValue}

// unknownUser is far beyond the ids that occur in a test.
const unknownUser = 1 << 40

// spices are texts that have a special meaning when values are combined in
// arrays, rows, JSON, COPY and SQL.
var spices = []string{"", `"`, "{}", "{a,b}", ",", `\`, `\N`, "NULL", "'", "$1", "é…🐘", "\t\r\n", " "}

// orders generates the orders of a test. The nth order is always the same. Of a
// hundred, some sixty are users, about five of which find their name taken,
// thirty are posts, one of which has an unknown user, and ten are tasks.
// Further ones violate a rule of the table or have an invalid value.
type orders struct {
	name   string // distinguishes the rows of parts of a test
	seed   uint64
	owners []int64 // of posts
}

func (o *orders) get(n int) order {
	r := rand.New(rand.NewPCG(o.seed, uint64(n)))
	var made order
	switch kind := r.IntN(10); {
	case kind < 6:
		made = o.user(n, r)
	case kind < 9:
		made = o.post(n, r)
	default:
		made = o.task(n, r)
	}
	if made.refusal == nil && !made.rival && r.IntN(50) == 0 {
		made.undone = true
		place := made.place
		made.place = func(ctx context.Context, q *db.Queries) (row any, err error) {
			err = q.InTx(ctx, func(q *db.Queries) error {
				if row, err = place(ctx, q); err != nil {
					return err
				}
				return errUndone
			})
			return row, err
		}
	}
	return made
}

// text returns a text that only the nth order has and that is hard to encode.
func (o *orders) text(n int, r *rand.Rand) string {
	return fmt.Sprintf("%s%s %d", spices[r.IntN(len(spices))], o.name, n)
}

// tags returns up to three tags.
func (o *orders) tags(n int, r *rand.Rand) []string {
	tags := []string{}
	for range r.IntN(4) {
		tags = append(tags, o.text(n, r))
	}
	return tags
}

// spoil overwrites an argument after its call has returned. A caller may do
// that, because the argument must no longer be read.
func spoil[T any](argument []T, with T) {
	for i := range argument {
		argument[i] = with
	}
}

func (o *orders) user(n int, r *rand.Rand) order {
	p := db.CreateUserParams{Username: o.text(n, r), Email: fmt.Sprint(n, "@", o.name), Tags: o.tags(n, r)}
	if r.IntN(4) > 0 {
		age := int32(n % 151)
		p.Age = &age
	}
	made := order{statement: "CreateUser"}
	if r.IntN(4) == 0 {
		// The same for consecutive orders, so that they compete.
		made.rival, p.Username = true, fmt.Sprintf("%s, of many: %d", o.name, n/8)
	}
	age := func(years int32) { p.Age = &years }
	switch r.IntN(80) {
	case 0:
		age(151)
		made.refusal = check("users_age_range")
	case 1:
		age(-1)
		made.refusal = check("users_age_range")
	case 2:
		p.Username = ""
		made.refusal = check("users_username_length")
	case 3:
		p.Username += strings.Repeat("…", 50)
		made.refusal = check("users_username_length")
	case 4:
		p.Email = ""
		made.refusal = check("users_email_length")
	case 5:
		p.Username += "\x00"
		made.refusal = invalid
	case 6:
		p.Email += "\xff"
		made.refusal = invalid
	case 7:
		p.Tags = append(p.Tags, "\x00")
		made.refusal = invalid
	case 8:
		p.Tags = nil
		made.refusal = &refusal{kind: postgres.ErrCheck, column: "tags"}
	}
	made.rival = made.rival && made.refusal == nil
	made.name = p.Username
	made.place = func(ctx context.Context, q *db.Queries) (any, error) {
		p := p
		p.Tags = slices.Clone(p.Tags)
		defer spoil(p.Tags, p.Username)
		if p.Age != nil {
			age := *p.Age
			p.Age = &age
			defer func() { age = 0 }()
		}
		return q.CreateUser(ctx, p)
	}
	made.fits = func(row any) bool {
		u := row.(*db.User)
		return u.ID > 0 && u.Username == p.Username && u.Email == p.Email && same(u.Age, p.Age) &&
			slices.Equal(u.Tags, p.Tags) && u.Version == 1 && !u.CreatedAt.IsZero() && u.UpdatedAt.Equal(u.CreatedAt)
	}
	return made
}

func (o *orders) post(n int, r *rand.Rand) order {
	p := db.CreatePostParams{
		UserID: o.owners[r.IntN(len(o.owners))], Title: o.text(n, r), Content: strings.Repeat(o.text(n, r), r.IntN(4)), Tags: o.tags(n, r),
	}
	made := order{statement: "CreatePost"}
	switch r.IntN(120) {
	case 0, 1, 2, 3:
		p.UserID = unknownUser + int64(n)
		made.refusal = &refusal{kind: postgres.ErrForeignKey, constraint: "posts_user_id_fkey"}
	case 4:
		p.Title = ""
		made.refusal = check("posts_title_length")
	case 5:
		p.Content += "\x00"
		made.refusal = invalid
	case 6:
		p.Tags = nil
		made.refusal = &refusal{kind: postgres.ErrCheck, column: "tags"}
	}
	made.name = p.Title
	made.place = func(ctx context.Context, q *db.Queries) (any, error) {
		p := p
		p.Tags = slices.Clone(p.Tags)
		defer spoil(p.Tags, p.Title)
		return q.CreatePost(ctx, p)
	}
	made.fits = func(row any) bool {
		post := row.(*db.Post)
		return post.ID > 0 && post.UserID == p.UserID && post.Title == p.Title && post.Content == p.Content &&
			slices.Equal(post.Tags, p.Tags) && post.Version == 1 && !post.CreatedAt.IsZero() && post.UpdatedAt.Equal(post.CreatedAt)
	}
	return made
}

// payloads are written as PostgreSQL prints them, so that they can be compared.
var payloads = []string{`{}`, `{"n": 1}`, `[1, "two", null]`, `"\"{},\\"`, `null`, `7`, `{"é": ["🐘"]}`}

func (o *orders) task(n int, r *rand.Rand) order {
	p := db.CreateTaskParams{Name: o.text(n, r), Payload: json.RawMessage(payloads[r.IntN(len(payloads))])}
	attempts, later := int32(10), false
	switch r.IntN(3) {
	case 0:
		at := time.Now().Add(time.Hour + time.Duration(n)*time.Second).Truncate(time.Microsecond)
		p.RunAt, later = &at, true
	case 1:
		at := time.Now().Add(-time.Hour)
		p.RunAt = &at
	}
	if r.IntN(2) == 0 {
		attempts = int32(1 + n%100)
		p.MaxAttempts = &attempts
	}
	made := order{statement: "CreateTask"}
	switch r.IntN(60) {
	case 0:
		p.Name = ""
		made.refusal = check("tasks_name_length")
	case 1:
		none := int32(0)
		p.MaxAttempts = &none
		made.refusal = check("tasks_max_attempts_counted")
	case 2:
		p.Name += "\x00"
		made.refusal = invalid
	case 3:
		p.Payload = json.RawMessage(`{"half":`)
		made.refusal = invalid
	case 4:
		p.Payload = nil
		made.refusal = &refusal{kind: postgres.ErrCheck, column: "payload"}
	}
	made.name = p.Name
	made.place = func(ctx context.Context, q *db.Queries) (any, error) {
		p := p
		p.Payload = slices.Clone(p.Payload)
		defer spoil(p.Payload, ' ')
		return q.CreateTask(ctx, p)
	}
	made.fits = func(row any) bool {
		t := row.(*db.Task)
		due := t.CreatedAt
		if later {
			due = *p.RunAt
		}
		return t.ID > 0 && t.Name == p.Name && bytes.Equal(t.Payload, p.Payload) && t.Status == db.TaskStatusPending &&
			t.Attempts == 0 && t.Worker == nil && t.LeaseUntil == nil && t.LastError == nil &&
			t.MaxAttempts == attempts && t.RunAt.Equal(due) && !t.CreatedAt.IsZero() && t.UpdatedAt.Equal(t.CreatedAt)
	}
	return made
}

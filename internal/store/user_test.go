package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

func TestRegisterUser(t *testing.T) {
	t.Parallel()
	posts := []store.NewPost{
		{Title: "first", Content: "one", Tags: []string{"a", "é"}},
		{Title: "second", Content: ""},
		{Title: "third", Content: "three", Tags: []string{}},
	}

	t.Run("WithPosts", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ctx, stats := postgres.WithStats(t.Context())
		user, created, err := d.Store.RegisterUser(ctx, store.Registration{
			User: db.CreateUserParams{Username: "ann", Email: "ann@example.com"}, Posts: posts,
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []store.NewPost
		for _, p := range created {
			if p.UserID != user.ID {
				t.Errorf("post %d belongs to user %d, want %d", p.ID, p.UserID, user.ID)
			}
			got = append(got, store.NewPost{Title: p.Title, Content: p.Content, Tags: p.Tags})
		}
		want := append([]store.NewPost(nil), posts...)
		want[1].Tags = []string{}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("posts (-want +got):\n%s", diff)
		}
		if user.Tags == nil || user.Version != 1 || user.Age != nil {
			t.Errorf("user = %+v, want no tags, version 1, no age", user)
		}
		if n, _ := stats.Total(); n > 4 {
			t.Errorf("%d statements, want at most BEGIN, two inserts and COMMIT", n)
		}
	})

	t.Run("TakenUsername", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		taken := d.CreateUser(t)
		_, _, err := d.Store.RegisterUser(t.Context(), store.Registration{
			User: db.CreateUserParams{Username: taken.Username, Email: "x"}, Posts: posts,
		})
		if !errors.Is(err, postgres.ErrUnique) {
			t.Errorf("err = %v, want ErrUnique", err)
		}
		if n := d.Count(t, "SELECT count(*) FROM posts"); n != 0 {
			t.Errorf("%d posts stored, want none", n)
		}
	})

	t.Run("BadPostStoresNothing", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		_, _, err := d.Store.RegisterUser(t.Context(), store.Registration{
			User:  db.CreateUserParams{Username: "bob", Email: "x"},
			Posts: append(posts, store.NewPost{Title: strings.Repeat("x", 201)}),
		})
		var typed *postgres.Error
		if !errors.As(err, &typed) || typed.Constraint != "posts_title_length" {
			t.Errorf("err = %v, want the constraint posts_title_length", err)
		}
		if n := d.Count(t, "SELECT count(*) FROM users"); n != 0 {
			t.Errorf("%d users stored, want none", n)
		}
	})

	t.Run("InsideATransaction", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		undo := errors.New("undo")
		err := d.Store.InTx(t.Context(), func(q *db.Queries) error {
			s := store.New(q)
			if _, _, err := s.RegisterUser(t.Context(), store.Registration{
				User: db.CreateUserParams{Username: "eve", Email: "x"}, Posts: posts,
			}); err != nil {
				return err
			}
			// If an operation inside fails, the changes before it stay.
			if _, _, err := s.RegisterUser(t.Context(), store.Registration{
				User: db.CreateUserParams{Username: "eve", Email: "x"},
			}); !errors.Is(err, postgres.ErrUnique) {
				t.Errorf("err = %v, want ErrUnique", err)
			}
			if _, err := q.GetUserByUsername(t.Context(), "eve"); err != nil {
				t.Errorf("after the savepoint: %v", err)
			}
			return undo
		})
		if !errors.Is(err, undo) {
			t.Errorf("err = %v, want the closure's own", err)
		}
		if n := d.Count(t, "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM posts)"); n != 0 {
			t.Errorf("%d rows stored, want none", n)
		}
	})
}

// TestUpdateUser tests the parts of a patch of a user.
func TestUpdateUser(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	ptr := func(s string) *string { return &s }
	version := func(n int32) *int32 { return &n }

	t.Run("KeepsWhatIsNotGiven", func(t *testing.T) {
		t.Parallel()
		before := d.CreateUser(t, func(p *db.CreateUserParams) { p.Tags = []string{"x"} })
		got, err := d.Queries.UpdateUser(t.Context(), db.UpdateUserParams{ID: before.ID, Email: ptr("new@example.com")})
		if err != nil {
			t.Fatal(err)
		}
		want := *before
		want.Email, want.Version, want.UpdatedAt = "new@example.com", 2, got.UpdatedAt
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("user (-want +got):\n%s", diff)
		}
		if !got.UpdatedAt.After(before.UpdatedAt) {
			t.Errorf("updated_at %v, want it after %v", got.UpdatedAt, before.UpdatedAt)
		}
	})

	t.Run("Clears", func(t *testing.T) {
		t.Parallel()
		u := d.CreateUser(t, func(p *db.CreateUserParams) { p.Tags = []string{"x"} })
		got, err := d.Queries.UpdateUser(t.Context(), db.UpdateUserParams{ID: u.ID, SetAge: true, Tags: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		if got.Age != nil || len(got.Tags) != 0 || got.Tags == nil {
			t.Errorf("age %v, tags %#v, want none and an empty list", got.Age, got.Tags)
		}
	})

	t.Run("LostRace", func(t *testing.T) {
		t.Parallel()
		u := d.CreateUser(t)
		// Every writer saw version 1, so only one may succeed.
		var wins, losses atomic.Int64
		var writers sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				_, err := d.Queries.UpdateUser(t.Context(), db.UpdateUserParams{
					ID: u.ID, Email: ptr(fmt.Sprint(i)), IfVersion: version(1),
				})
				switch {
				case err == nil:
					wins.Add(1)
				case errors.Is(err, postgres.ErrNotFound):
					losses.Add(1)
				default:
					t.Errorf("err = %v", err)
				}
			})
		}
		writers.Wait()
		if wins.Load() != 1 || losses.Load() != 7 {
			t.Errorf("%d wins and %d losses, want 1 and 7", wins.Load(), losses.Load())
		}
	})

	t.Run("Errors", func(t *testing.T) {
		t.Parallel()
		a, b := d.CreateUser(t), d.CreateUser(t)
		tests := []struct {
			name  string
			patch db.UpdateUserParams
			want  error
		}{
			{"unknown", db.UpdateUserParams{ID: 1 << 40, Email: ptr("x")}, postgres.ErrNotFound},
			{"unknown with version", db.UpdateUserParams{ID: 1 << 40, Email: ptr("x"), IfVersion: version(1)}, postgres.ErrNotFound},
			{"taken", db.UpdateUserParams{ID: a.ID, Username: &b.Username}, postgres.ErrUnique},
			{"too long", db.UpdateUserParams{ID: a.ID, Username: ptr(strings.Repeat("é", 51))}, postgres.ErrCheck},
			{"NUL", db.UpdateUserParams{ID: a.ID, Username: ptr("a\x00b")}, postgres.ErrInvalidValue},
		}
		for _, tt := range tests {
			if _, err := d.Queries.UpdateUser(t.Context(), tt.patch); !errors.Is(err, tt.want) {
				t.Errorf("%s: err = %v, want %v", tt.name, err, tt.want)
			}
		}
	})
}

// TestCurrent reads a row as the primary has it, alone and in a transaction.
func TestCurrent(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	for name, in := range map[string]func(func(*db.Queries) error) error{
		"alone":         func(fn func(*db.Queries) error) error { return fn(d.Queries) },
		"a transaction": func(fn func(*db.Queries) error) error { return d.Store.InTx(t.Context(), fn) },
	} {
		for _, tt := range []struct {
			id      int64
			version *int32
			want    error
		}{
			{u.ID, nil, nil},
			{u.ID, new(int32(1)), nil},
			{u.ID, new(int32(2)), store.ErrVersionMismatch},
			{1 << 40, nil, postgres.ErrNotFound},
			{1 << 40, new(int32(1)), postgres.ErrNotFound},
		} {
			err := in(func(q *db.Queries) error {
				got, err := store.Current(t.Context(), q, tt.version,
					func(q *db.Queries) (*db.User, error) { return q.GetUser(t.Context(), tt.id) },
					func(u *db.User) int32 { return u.Version })
				if diff := cmp.Diff(u, got); tt.want == nil && diff != "" {
					t.Errorf("%s, %+v (-want +got):\n%s", name, tt, diff)
				}
				return err
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("%s, %+v: err = %v", name, tt, err)
			}
		}
	}
}

func TestDeleteUser(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u, other := d.CreateUser(t), d.CreateUser(t)
	d.CreatePost(t, u.ID)
	kept := d.CreatePost(t, other.ID)
	stale, seen := int32(7), int32(1)

	for _, step := range []struct {
		name      string
		ifVersion *int32
		removed   int64
	}{{"stale version", &stale, 0}, {"right version", &seen, 1}, {"again", nil, 0}} {
		n, err := d.Queries.DeleteUser(t.Context(), db.DeleteUserParams{ID: u.ID, IfVersion: step.ifVersion})
		if n != step.removed || err != nil {
			t.Errorf("%s: %d rows removed (%v), want %d", step.name, n, err, step.removed)
		}
	}
	if n := d.Count(t, "SELECT count(*) FROM posts WHERE id <> $1", kept.ID); n != 0 {
		t.Errorf("%d posts of the deleted user are left", n)
	}
}

func TestPageUsers(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	var all []*db.User
	for i := range 23 {
		all = append(all, d.CreateUser(t, func(p *db.CreateUserParams) {
			age := int32(i)
			p.Age = &age
			if i%5 == 0 {
				p.Age = nil
			}
			p.Username = fmt.Sprintf("%s_%d", []string{"ann", "a%b", "bob"}[i%3], i)
		}))
	}
	low, high, prefix, percent := int32(6), int32(17), "ann", "a%"
	within := func(u *db.User) bool { return u.Age != nil && *u.Age >= low && *u.Age <= high }
	filters := map[string]struct {
		filter store.UserFilter
		keep   func(*db.User) bool
	}{
		"None":    {store.UserFilter{}, func(*db.User) bool { return true }},
		"Ages":    {store.UserFilter{MinAge: &low, MaxAge: &high}, within},
		"Prefix":  {store.UserFilter{UsernamePrefix: &prefix}, func(u *db.User) bool { return strings.HasPrefix(u.Username, prefix) }},
		"Percent": {store.UserFilter{UsernamePrefix: &percent}, func(u *db.User) bool { return strings.HasPrefix(u.Username, percent) }},
		"Both": {store.UserFilter{MinAge: &low, MaxAge: &high, UsernamePrefix: &prefix}, func(u *db.User) bool {
			return within(u) && strings.HasPrefix(u.Username, prefix)
		}},
	}
	for name, f := range filters {
		for _, limit := range []int{1, 4, 23, 100} {
			t.Run(fmt.Sprintf("%s/%d", name, limit), func(t *testing.T) {
				t.Parallel()
				want := slices.DeleteFunc(slices.Clone(all), func(u *db.User) bool { return !f.keep(u) })
				var there []*db.User
				var turns []store.Page[int64, *db.User]
				for r := (store.PageRequest[int64]{Limit: limit}); ; {
					p, err := pageUsers(t.Context(), d, f.filter, r)
					if err != nil {
						t.Fatal(err)
					}
					there = append(there, p.Items...)
					turns = append(turns, p)
					if p.Next == nil {
						break
					}
					r = store.PageRequest[int64]{Limit: limit, After: p.Next}
				}
				if diff := cmp.Diff(want, there); diff != "" {
					t.Fatalf("forward (-want +got):\n%s", diff)
				}
				// Go back page by page. Each page must be the same as before.
				for i := len(turns) - 1; i > 0; i-- {
					p, err := pageUsers(t.Context(), d, f.filter, store.PageRequest[int64]{Limit: limit, Before: turns[i].Prev})
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(turns[i-1].Items, p.Items); diff != "" {
						t.Fatalf("page %d, back (-want +got):\n%s", i-1, diff)
					}
					if (p.Prev == nil) != (i == 1) || p.Next == nil {
						t.Fatalf("page %d, back: prev %v, next %v", i-1, p.Prev, p.Next)
					}
				}
				if turns[0].Prev != nil {
					t.Errorf("the first page has a page before it")
				}
			})
		}
	}

	t.Run("EmptyPagesLeadBack", func(t *testing.T) {
		t.Parallel()
		first, last := all[0].ID, all[len(all)-1].ID
		p, err := pageUsers(t.Context(), d, store.UserFilter{}, store.PageRequest[int64]{Limit: 5, After: &last})
		if err != nil || len(p.Items) != 0 || p.Prev == nil || p.Next != nil {
			t.Fatalf("after the last: %+v, %v", p, err)
		}
		p, err = pageUsers(t.Context(), d, store.UserFilter{}, store.PageRequest[int64]{Limit: 5, Before: p.Prev})
		if err != nil || len(p.Items) != 5 || p.Items[4].ID != last {
			t.Errorf("back from after the last: %+v, %v", p, err)
		}
		p, err = pageUsers(t.Context(), d, store.UserFilter{}, store.PageRequest[int64]{Limit: 5, Before: &first})
		if err != nil || len(p.Items) != 0 || p.Prev != nil || p.Next == nil {
			t.Fatalf("before the first: %+v, %v", p, err)
		}
		p, err = pageUsers(t.Context(), d, store.UserFilter{}, store.PageRequest[int64]{Limit: 5, After: p.Next})
		if err != nil || len(p.Items) != 5 || p.Items[0].ID != first {
			t.Errorf("on from before the first: %+v, %v", p, err)
		}
	})

	t.Run("BadRequest", func(t *testing.T) {
		t.Parallel()
		id := all[3].ID
		for _, r := range []store.PageRequest[int64]{{}, {Limit: -1}, {Limit: 5, After: &id, Before: &id}} {
			if _, err := pageUsers(t.Context(), d, store.UserFilter{}, r); err == nil {
				t.Errorf("%+v: no error", r)
			}
		}
	})
}

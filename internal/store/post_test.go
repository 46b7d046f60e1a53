package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

func TestPageUsersWithPosts(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	want := map[int64][]*db.Post{}
	var users []*db.User
	for i := range 7 {
		users = append(users, d.CreateUser(t, func(u *db.CreateUserParams) { age := int32(20 + i); u.Age = &age }))
	}
	// The posts of the users alternate, so that no user's posts are next to each other in the
	// table. The second user has none.
	for range 70 {
		for i, u := range users {
			if i != 1 {
				want[u.ID] = append(want[u.ID], d.CreatePost(t, u.ID))
			}
		}
	}
	young, old := int32(21), int32(25)
	for name, f := range map[string]store.UserFilter{"all": {}, "some": {MinAge: &young, MaxAge: &old}, "none": {MinAge: &old, MaxAge: &young}} {
		for _, limit := range []int{1, 2, 3, 7, 10} {
			back := users[len(users)-1].ID + 1
			for _, r := range []store.PageRequest[int64]{{Limit: limit}, {Limit: limit, After: &users[1].ID}, {Limit: limit, Before: &users[5].ID}, {Limit: limit, Before: &back}} {
				ctx, stats := postgres.WithStats(t.Context())
				plain, err := pageUsers(t.Context(), d, f, r)
				if err != nil {
					t.Fatal(err)
				}
				p, err := d.Store.PageUsersWithPosts(ctx, f, r)
				if err != nil {
					t.Fatal(err)
				}
				with := store.Page[int64, *db.User]{Ends: p.Ends}
				for _, u := range p.Items {
					with.Items = append(with.Items, u.User)
				}
				if diff := cmp.Diff(plain, with, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s, %+v: users (-without +with):\n%s", name, r, diff)
				}
				for _, u := range p.Items {
					if diff := cmp.Diff(want[u.ID], u.Posts, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s, %+v, user %d (-want +got):\n%s", name, r, u.ID, diff)
					}
				}
				if ran, _ := stats.Total(); ran != 3 {
					t.Errorf("%s, %+v: %d statements, want two and the COMMIT", name, r, ran)
				}
			}
		}
	}
}

func TestPageUserPosts(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u, other, none := d.CreateUser(t), d.CreateUser(t), d.CreateUser(t)
	var want []*db.Post
	for range 5 {
		want = append(want, d.CreatePost(t, u.ID))
		d.CreatePost(t, other.ID)
	}
	first, err := pageUserPosts(t.Context(), d, u.ID, store.PageRequest[int64]{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	second, err := pageUserPosts(t.Context(), d, u.ID, store.PageRequest[int64]{Limit: 3, After: first.Next})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, append(first.Items, second.Items...)); diff != "" {
		t.Errorf("posts (-want +got):\n%s", diff)
	}
	back, err := pageUserPosts(t.Context(), d, u.ID, store.PageRequest[int64]{Limit: 3, Before: second.Prev})
	if diff := cmp.Diff(first.Items, back.Items); diff != "" || err != nil {
		t.Errorf("back: %v, posts (-want +got):\n%s", err, diff)
	}
	if p, err := pageUserPosts(t.Context(), d, none.ID, store.PageRequest[int64]{Limit: 3}); err != nil || len(p.Items) != 0 {
		t.Errorf("user without posts: %+v, %v", p, err)
	}
	if _, err := pageUserPosts(t.Context(), d, 1<<40, store.PageRequest[int64]{Limit: 3}); !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("unknown user: err = %v, want ErrNotFound", err)
	}
}

// TestUpdatePost tests the parts of a patch and of a deletion of a post.
func TestUpdatePost(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	p := d.CreatePost(t, d.CreateUser(t).ID, func(p *db.CreatePostParams) { p.Tags = []string{"x"} })
	title, stale := "New title", int32(1)
	got, err := d.Queries.UpdatePost(t.Context(), db.UpdatePostParams{ID: p.ID, Title: &title, IfVersion: &p.Version})
	if err != nil {
		t.Fatal(err)
	}
	want := *p
	want.Title, want.Version, want.UpdatedAt = title, 2, got.UpdatedAt
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("post (-want +got):\n%s", diff)
	}
	if _, err := d.Queries.UpdatePost(t.Context(), db.UpdatePostParams{ID: p.ID, Title: &title, IfVersion: &stale}); !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("stale version: err = %v, want ErrNotFound", err)
	}
	for _, step := range []struct {
		name      string
		ifVersion *int32
		removed   int64
	}{{"stale version", &stale, 0}, {"any version", nil, 1}, {"again", nil, 0}} {
		n, err := d.Queries.DeletePost(t.Context(), db.DeletePostParams{ID: p.ID, IfVersion: step.ifVersion})
		if n != step.removed || err != nil {
			t.Errorf("delete, %s: %d rows removed (%v), want %d", step.name, n, err, step.removed)
		}
	}
	if _, err := d.Queries.UpdatePost(t.Context(), db.UpdatePostParams{ID: p.ID, Title: &title}); !errors.Is(err, postgres.ErrNotFound) {
		t.Errorf("patch what is gone: err = %v, want ErrNotFound", err)
	}
}

// TestPageUserPosts_Long reads pages of long posts, which end early. Each post must be read
// once in either direction.
func TestPageUserPosts_Long(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	d.Exec(t, "INSERT INTO posts (user_id, title, content) SELECT $1, n::text, repeat('words and ', 300000) FROM generate_series(1, 7) AS n", u.ID)
	page := func(r store.PageRequest[int64]) (ids []int64, ends store.Ends[int64]) {
		ends, err := d.Store.PageUserPosts(t.Context(), u.ID, r, func(p db.Post) {
			if len(p.Content) != 3_000_000 {
				t.Errorf("%d characters", len(p.Content))
			}
			ids = append(ids, p.ID)
		})
		if err != nil || len(ids) > 3 {
			t.Fatalf("%d posts of 3 MB in a page, %v", len(ids), err)
		}
		return ids, ends
	}
	r := store.PageRequest[int64]{Limit: 100}
	forth, ends := page(r)
	for ends.Next != nil {
		r.After = ends.Next
		var more []int64
		more, ends = page(r)
		forth = append(forth, more...)
	}
	if len(forth) != 7 || !slices.IsSorted(forth) {
		t.Errorf("read %d", forth)
	}
	var back []int64
	beyond := forth[6] + 1
	for r := (store.PageRequest[int64]{Limit: 100, Before: &beyond}); r.Before != nil; r.Before = ends.Prev {
		var more []int64
		more, ends = page(r)
		back = append(more, back...)
	}
	if !slices.Equal(forth, back) {
		t.Errorf("read %d, and back %d", forth, back)
	}
}

// TestPageUsersWithPosts_Large requests more posts than a response may contain.
func TestPageUsersWithPosts_Large(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	d.Exec(t, "INSERT INTO posts (user_id, title, content) SELECT $1, n::text, repeat('words and ', 300000) FROM generate_series(1, 12) AS n", u.ID)
	beyond := u.ID + 1
	for _, r := range []store.PageRequest[int64]{{Limit: 10}, {Limit: 10, Before: &beyond}} {
		if _, err := d.Store.PageUsersWithPosts(t.Context(), store.UserFilter{}, r); !errors.Is(err, store.ErrPageTooLarge) {
			t.Errorf("36 MB of posts: %v, want ErrPageTooLarge", err)
		}
	}
	d.Exec(t, "DELETE FROM posts WHERE title::int > 10")
	if p, err := d.Store.PageUsersWithPosts(t.Context(), store.UserFilter{}, store.PageRequest[int64]{Limit: 10}); err != nil || len(p.Items[0].Posts) != 10 {
		t.Errorf("30 MB of posts: %v", err)
	}
}

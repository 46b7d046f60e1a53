package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
)

// list is a list that is paged while rows are added and removed.
type list struct {
	page   func(context.Context, store.PageRequest[int64]) (ids []int64, next, prev *int64, err error)
	create func(ctx context.Context, n int64) error
	remove func(ctx context.Context, id int64) error
}

// collected reads a page with EachOfPage and returns its items.
func collected[T any](act func(each func(T)) (store.Ends[int64], error)) (p store.Page[int64, *T], err error) {
	p.Ends, err = act(func(item T) { p.Items = append(p.Items, &item) })
	return p, err
}

func pageUsers(ctx context.Context, d *storetest.DB, f store.UserFilter, r store.PageRequest[int64]) (store.Page[int64, *db.User], error) {
	return collected(func(each func(db.User)) (store.Ends[int64], error) { return d.Store.PageUsers(ctx, f, r, each) })
}

func pageUserPosts(ctx context.Context, d *storetest.DB, userID int64, r store.PageRequest[int64]) (store.Page[int64, *db.Post], error) {
	return collected(func(each func(db.Post)) (store.Ends[int64], error) {
		return d.Store.PageUserPosts(ctx, userID, r, each)
	})
}

func ends[T any](p store.Page[int64, T], err error, id func(T) int64) ([]int64, *int64, *int64, error) {
	var ids []int64
	for _, item := range p.Items {
		ids = append(ids, id(item))
	}
	return ids, p.Next, p.Prev, err
}

// TestPages_Stable reads the pages of lists from the first to the last and back, while rows are
// added and removed. In either direction no row may come twice, the order must hold, and no row
// may be missing that existed all the time.
func TestPages_Stable(t *testing.T) {
	t.Parallel()
	userID := func(u *db.User) int64 { return u.ID }
	lists := map[string]func(d *storetest.DB, owner int64) list{
		"Users": func(d *storetest.DB, _ int64) list {
			return list{
				func(ctx context.Context, r store.PageRequest[int64]) ([]int64, *int64, *int64, error) {
					p, err := pageUsers(ctx, d, store.UserFilter{}, r)
					return ends(p, err, userID)
				},
				func(ctx context.Context, n int64) error {
					_, err := d.Queries.CreateUser(ctx, db.CreateUserParams{Username: fmt.Sprint(n), Email: "x", Tags: []string{}})
					return err
				},
				func(ctx context.Context, id int64) error {
					_, err := d.Queries.DeleteUser(ctx, db.DeleteUserParams{ID: id})
					return err
				},
			}
		},
		// These have an age that half of the users have.
		"UsersFiltered": func(d *storetest.DB, _ int64) list {
			return list{
				func(ctx context.Context, r store.PageRequest[int64]) ([]int64, *int64, *int64, error) {
					p, err := pageUsers(ctx, d, store.UserFilter{MinAge: new(int32(50))}, r)
					return ends(p, err, userID)
				},
				func(ctx context.Context, n int64) error {
					_, err := d.Queries.CreateUser(ctx, db.CreateUserParams{
						Username: fmt.Sprint(n), Email: "x", Age: new(int32(n % 100)), Tags: []string{},
					})
					return err
				},
				func(ctx context.Context, id int64) error {
					_, err := d.Queries.DeleteUser(ctx, db.DeleteUserParams{ID: id})
					return err
				},
			}
		},
		"Posts": func(d *storetest.DB, owner int64) list {
			return list{
				func(ctx context.Context, r store.PageRequest[int64]) ([]int64, *int64, *int64, error) {
					p, err := pageUserPosts(ctx, d, owner, r)
					return ends(p, err, func(p *db.Post) int64 { return p.ID })
				},
				func(ctx context.Context, n int64) error {
					_, err := d.Queries.CreatePost(ctx, db.CreatePostParams{UserID: owner, Title: fmt.Sprint(n), Tags: []string{}})
					return err
				},
				func(ctx context.Context, id int64) error {
					_, err := d.Queries.DeletePost(ctx, db.DeletePostParams{ID: id})
					return err
				},
			}
		},
		// Tasks leave the list when they are claimed.
		"TasksPending": func(d *storetest.DB, _ int64) list {
			return list{
				func(ctx context.Context, r store.PageRequest[int64]) ([]int64, *int64, *int64, error) {
					p, err := d.Store.PageTasks(ctx, store.TaskFilter{Status: new(db.TaskStatusPending)}, r)
					return ends(p, err, func(t *db.Task) int64 { return t.ID })
				},
				func(ctx context.Context, n int64) error {
					_, err := d.Queries.CreateTask(ctx, db.CreateTaskParams{Name: fmt.Sprint(n), Payload: []byte("1")})
					return err
				},
				func(ctx context.Context, id int64) error {
					// The task is made to look like the oldest one.
					_, err := d.Router.Pool().Exec(ctx, "UPDATE tasks SET run_at = '2000-01-01' WHERE id = $1", id)
					if err == nil {
						_, err = d.Store.ClaimTasks(ctx, store.Claim{Worker: "w", Limit: 1, Lease: patience})
					}
					return err
				},
			}
		},
	}
	for name, of := range lists {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := storetest.New(t)
			owner := d.CreateUser(t, func(p *db.CreateUserParams) { p.Age = nil }).ID
			churn(t, of(d, owner))
		})
	}
}

// everything reads a list in one page.
func everything(t *testing.T, l list) []int64 {
	t.Helper()
	ids, next, _, err := l.page(t.Context(), store.PageRequest[int64]{Limit: 100_000})
	if err != nil || next != nil {
		t.Fatalf("the whole list: next %v, %v", next, err)
	}
	return ids
}

func churn(t *testing.T, l list) {
	for n := range int64(60) {
		if err := l.create(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	// Two thirds of the rows stay. The others are removed while the pages are read.
	goers := everything(t, l)
	rand.Shuffle(len(goers), func(i, j int) { goers[i], goers[j] = goers[j], goers[i] })
	stayers := map[int64]bool{}
	for _, id := range goers[len(goers)/3:] {
		stayers[id] = true
	}
	goers = goers[:len(goers)/3]

	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	turned := make(chan struct{}) // signals that a page was read, so one row is added and one removed
	others.Go(func() {
		for n := int64(1000); ; n++ {
			select {
			case <-turned:
			case <-ctx.Done():
				return
			}
			// It does not use ctx, so that a call that has started is finished.
			if err := l.create(t.Context(), n); err != nil {
				t.Error(err)
			}
			if len(goers) > 0 {
				if err := l.remove(t.Context(), goers[0]); err != nil {
					t.Error(err)
				}
				goers = goers[1:]
			}
		}
	})
	defer others.Wait()
	defer cancel()
	for range times(30, 1000) {
		var there, back []int64
		r := store.PageRequest[int64]{Limit: 1 + rand.N(9)}
		var prev *int64
		for {
			ids, next, before, err := l.page(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case turned <- struct{}{}:
			default:
			}
			there, prev = append(there, ids...), before
			if next == nil || len(there) > 10_000 {
				break
			}
			r = store.PageRequest[int64]{Limit: 1 + rand.N(9), After: next}
		}
		way(t, "forward", there, stayers)
		// This goes back from the first row of the last page, which was already seen.
		for prev != nil && len(back) <= 10_000 {
			ids, _, before, err := l.page(ctx, store.PageRequest[int64]{Limit: 1 + rand.N(9), Before: prev})
			if err != nil {
				t.Fatal(err)
			}
			back, prev = slices.Concat(ids, back), before
		}
		seen := map[int64]bool{}
		for id := range stayers {
			if len(back) > 0 && id <= back[len(back)-1] {
				seen[id] = true
			}
		}
		way(t, "back", back, seen)
	}
}

// way checks the ids that were seen in one direction through a list.
func way(t *testing.T, direction string, ids []int64, stayers map[int64]bool) {
	t.Helper()
	missing := len(stayers)
	for i, id := range ids {
		if i > 0 && id <= ids[i-1] {
			t.Fatalf("%s: %d follows %d", direction, id, ids[i-1])
		}
		if stayers[id] {
			missing--
		}
	}
	if missing > 0 {
		t.Fatalf("%s: %d rows are missing that were there all along", direction, missing)
	}
}

package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
)

func TestUserStats(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	var want []*db.ListUserStatsRow
	// Two users have each count, so that the order by id within a count is tested, too.
	for _, posts := range []int{9, 9, 7, 7, 6, 6, 5, 0} {
		u := d.CreateUser(t)
		for range posts {
			d.CreatePost(t, u.ID)
		}
		if posts > 5 {
			want = append(want, &db.ListUserStatsRow{ID: u.ID, Username: u.Username, PostCount: int64(posts)})
		}
	}
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []*db.ListUserStatsRow
		r := store.UserStatsRequest{MinPosts: 5, Limit: limit}
		for {
			p, err := d.Store.UserStats(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p.Items...)
			if p.Next == nil {
				break
			}
			r.After = p.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
	if _, err := d.Store.UserStats(t.Context(), store.UserStatsRequest{}); err == nil {
		t.Error("limit 0: no error")
	}
}

func TestPostsPerDay(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	for _, at := range []string{
		"2026-02-27T23:59:59.999Z", "2026-02-28T00:00:00Z", "2026-02-28T23:59:59.999Z", "2026-03-02T12:00:00Z", "2026-03-03T00:00:00Z",
	} {
		p := d.CreatePost(t, u.ID)
		d.Exec(t, "UPDATE posts SET created_at = $1::timestamptz WHERE id = $2", at, p.ID)
	}
	day := func(m time.Month, d int) time.Time { return time.Date(2026, m, d, 0, 0, 0, 0, time.UTC) }
	got, err := d.Queries.ListPostsPerDay(t.Context(), db.ListPostsPerDayParams{FromDay: day(2, 28), ToDay: day(3, 2)})
	want := []*db.ListPostsPerDayRow{{Day: day(2, 28), PostCount: 2}, {Day: day(3, 1)}, {Day: day(3, 2), PostCount: 1}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("err %v, days (-want +got):\n%s", err, diff)
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	empty, err := d.Queries.GetOverview(t.Context())
	if diff := cmp.Diff(&db.GetOverviewRow{}, empty); diff != "" || err != nil {
		t.Errorf("empty: err %v, (-want +got):\n%s", err, diff)
	}
	a := d.CreateUser(t)
	d.CreateUser(t)
	d.CreatePost(t, a.ID)
	d.CreatePost(t, a.ID)
	for range 3 {
		if _, err := d.Queries.CreateTask(t.Context(), db.CreateTaskParams{Name: "n", Payload: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Queries.ClaimTasks(t.Context(), db.ClaimTasksParams{Worker: "w", LeaseSeconds: 60, MaxTasks: 1}); err != nil {
		t.Fatal(err)
	}
	got, err := d.Queries.GetOverview(t.Context())
	want := &db.GetOverviewRow{Users: 2, Posts: 2, UsersWithPosts: 1, Pending: 2, Running: 1}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("err %v, (-want +got):\n%s", err, diff)
	}
}

package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

func TestPatchUsers(t *testing.T) {
	t.Parallel()

	// Every combination of members in a change is compared with UpdateUser for each user.
	t.Run("AsOneByOne", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		ages := []struct {
			set bool
			age *int32
		}{{}, {set: true}, {set: true, age: new(int32(0))}, {set: true, age: new(int32(150))}}
		tags := [][]string{nil, {}, {"x", `"é,{}\`}}
		var bulk, single []db.UpdateUserParams
		for i := range 4 * len(ages) * len(tags) {
			change := db.UpdateUserParams{SetAge: ages[i/4%len(ages)].set, Age: ages[i/4%len(ages)].age, Tags: tags[i/4/len(ages)]}
			if i%2 == 1 {
				change.Email = new(fmt.Sprintf("new%d@example.com", i))
			}
			for list, sign := range map[*[]db.UpdateUserParams]string{&bulk: "b", &single: "s"} {
				change.ID = d.CreateUser(t, func(p *db.CreateUserParams) { p.Tags = []string{"old"} }).ID
				change.Username = nil
				if i/2%2 == 1 {
					change.Username = new(fmt.Sprintf("%s, {%d}", sign, i))
				}
				*list = append(*list, change)
			}
		}
		given := slices.Clone(bulk)
		slices.Reverse(given)
		ctx, stats := postgres.WithStats(t.Context())
		b, err := d.Store.PatchUsers(ctx, given)
		if err != nil || b.Done != len(bulk) || b.Missing != nil || b.Stale != nil {
			t.Fatalf("%+v, %v", b, err)
		}
		if n, _ := stats.Total(); n > 2 {
			t.Errorf("%d statements, want one and its COMMIT", n)
		}
		for i := range single {
			want, err := d.Queries.UpdateUser(t.Context(), single[i])
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Queries.GetUser(t.Context(), bulk[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			if single[i].Username == nil {
				want.Username = got.Username
			} else if got.Username != *bulk[i].Username {
				t.Errorf("change %d: the username is %q, want %q", i, got.Username, *bulk[i].Username)
			} else {
				want.Username = got.Username
			}
			if single[i].Email == nil {
				want.Email = got.Email
			}
			if !single[i].SetAge {
				want.Age = got.Age
			}
			want.ID, want.CreatedAt, want.UpdatedAt = got.ID, got.CreatedAt, got.UpdatedAt
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("change %d %+v (-one by one +bulk):\n%s", i, bulk[i], diff)
			}
		}
	})

	t.Run("KeepsWhatIsNotGiven", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		a, b := d.CreateUser(t), d.CreateUser(t, func(p *db.CreateUserParams) { p.Tags = []string{"kept"} })
		_, err := d.Store.PatchUsers(t.Context(), []db.UpdateUserParams{
			{ID: b.ID, SetAge: true, Age: new(int32(7))}, {ID: a.ID, Username: new("other"), Tags: []string{"new"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []*db.User{a, b} {
			got, err := d.Queries.GetUser(t.Context(), want.ID)
			if err != nil {
				t.Fatal(err)
			}
			if want == a {
				want.Username, want.Tags = "other", []string{"new"}
			} else {
				want.Age = new(int32(7))
			}
			want.Version, want.UpdatedAt = 2, got.UpdatedAt
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})

	t.Run("MissingAndStale", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		var changes []db.UpdateUserParams
		want := store.Bulk{}
		for i := range 30 {
			u := d.CreateUser(t)
			change := db.UpdateUserParams{ID: u.ID, SetAge: true, Age: new(int32(1))}
			switch i % 5 {
			case 0:
				change.IfVersion = new(int32(1))
			case 1:
				change.IfVersion = new(int32(2))
			case 2:
				change.IfVersion = new(int32(0)) // which no user has
			case 3:
				change.ID += 1 << 40
				if i%2 == 0 {
					change.IfVersion = new(int32(1))
				}
			}
			switch i % 5 {
			case 0, 4:
				want.Done++
			case 3:
				want.Missing = append(want.Missing, change.ID)
			default:
				want.Stale = append(want.Stale, change.ID)
			}
			changes = append(changes, change)
		}
		slices.Reverse(changes)
		got, err := d.Store.PatchUsers(t.Context(), changes)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("err %v, (-want +got):\n%s", err, diff)
		}
		if n := d.Count(t, "SELECT count(*) FROM users WHERE age = 1 AND version = 2"); n != want.Done {
			t.Errorf("%d users changed, want %d", n, want.Done)
		}
	})

	t.Run("AnErrorChangesNone", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		a, b := d.CreateUser(t), d.CreateUser(t)
		for name, test := range map[string]struct {
			bad  db.UpdateUserParams
			want error
		}{
			"Taken":   {db.UpdateUserParams{ID: b.ID, Username: &a.Username}, postgres.ErrUnique},
			"Empty":   {db.UpdateUserParams{ID: b.ID, Username: new("")}, postgres.ErrCheck},
			"TooOld":  {db.UpdateUserParams{ID: b.ID, SetAge: true, Age: new(int32(151))}, postgres.ErrCheck},
			"Unborn":  {db.UpdateUserParams{ID: b.ID, SetAge: true, Age: new(int32(-1))}, postgres.ErrCheck},
			"TooLong": {db.UpdateUserParams{ID: b.ID, Email: new(strings.Repeat("é", 101))}, postgres.ErrCheck},
			"NUL":     {db.UpdateUserParams{ID: b.ID, Email: new("a\x00b")}, postgres.ErrInvalidValue},
		} {
			_, err := d.Store.PatchUsers(t.Context(), []db.UpdateUserParams{{ID: a.ID, SetAge: true}, test.bad})
			if !errors.Is(err, test.want) {
				t.Errorf("%s: err = %v, want %v", name, err, test.want)
			}
		}
		if _, err := d.Store.PatchUsers(t.Context(), []db.UpdateUserParams{{ID: a.ID, SetAge: true}, {ID: b.ID}, {ID: a.ID}}); err == nil {
			t.Error("an id twice: no error")
		}
		if n := d.Count(t, "SELECT count(*) FROM users WHERE version > 1"); n != 0 {
			t.Errorf("%d users changed, want none", n)
		}
		if got, err := d.Store.PatchUsers(t.Context(), nil); err != nil || got.Done != 0 {
			t.Errorf("no changes: %+v, %v", got, err)
		}
	})

	// Several writers change the same users in opposite orders at the same time.
	t.Run("AtATime", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		var changes []db.UpdateUserParams
		for range 200 {
			changes = append(changes, db.UpdateUserParams{ID: d.CreateUser(t).ID, SetAge: true, Age: new(int32(1))})
		}
		var writers sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				mine := slices.Clone(changes)
				if i%2 == 1 {
					slices.Reverse(mine)
				}
				for range 5 {
					if b, err := d.Store.PatchUsers(t.Context(), mine); err != nil || b.Done != len(mine) {
						t.Errorf("%+v, %v", b, err)
					}
				}
			})
		}
		writers.Wait()
		if n := d.Count(t, "SELECT count(*) FROM users WHERE version = 41"); n != 200 {
			t.Errorf("%d users changed 40 times, want 200", n)
		}
	})

	t.Run("TenThousand", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		d.Exec(t, "INSERT INTO users (username, email) SELECT i, i FROM generate_series(1, 10000) AS i")
		changes := make([]db.UpdateUserParams, 10_000)
		for i := range changes {
			changes[i] = db.UpdateUserParams{ID: int64(i + 1), SetAge: true, Age: new(int32(i % 151)), IfVersion: new(int32(1))}
		}
		if b, err := d.Store.PatchUsers(t.Context(), changes); err != nil || b.Done != 10_000 {
			t.Errorf("%d done, %v", b.Done, err)
		}
		if n := d.Count(t, "SELECT count(*) FROM users WHERE age = (id - 1) % 151"); n != 10_000 {
			t.Errorf("%d users have their age, want 10,000", n)
		}
	})
}

func TestDeleteUsers(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	var users []db.DeleteUserParams
	want := store.Bulk{}
	for i := range 20 {
		u := d.CreateUser(t)
		d.CreatePost(t, u.ID)
		user := db.DeleteUserParams{ID: u.ID}
		switch i % 4 {
		case 0:
			user.IfVersion = new(int32(1))
		case 1:
			user.IfVersion = new(int32(9))
		case 2:
			user.ID += 1 << 40
		}
		switch i % 4 {
		case 0, 3:
			want.Done++
		case 1:
			want.Stale = append(want.Stale, user.ID)
		case 2:
			want.Missing = append(want.Missing, user.ID)
		}
		users = append(users, user)
	}
	slices.Reverse(users)
	got, err := d.Store.DeleteUsers(t.Context(), users)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("err %v, (-want +got):\n%s", err, diff)
	}
	for _, table := range []string{"users", "posts"} {
		if n := d.Count(t, "SELECT count(*) FROM "+table); n != 20-want.Done {
			t.Errorf("%d %s are left, want %d", n, table, 20-want.Done)
		}
	}
	if _, err := d.Store.DeleteUsers(t.Context(), append(users, users[0])); err == nil {
		t.Error("an id twice: no error")
	}
	if got, err := d.Store.DeleteUsers(t.Context(), nil); err != nil || got.Done != 0 {
		t.Errorf("no users: %+v, %v", got, err)
	}
}

package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

func TestSeed(t *testing.T) {
	t.Parallel()
	one, two := storetest.New(t), storetest.New(t)
	var users, posts int64
	o := store.SeedOptions{Users: 1000, Posts: 25_000, Seed: 42, Progress: func(u, p int64) { users, posts = u, p }}
	for _, d := range []*storetest.DB{one, two} {
		ctx, stats := postgres.WithStats(t.Context())
		if err := d.Store.Seed(ctx, o); err != nil {
			t.Fatal(err)
		}
		// For each 10,000 rows, one statement draws the ids and one COPY adds the rows.
		if n, _ := stats.Total(); n != 1+2*(1+3) {
			t.Errorf("%d statements, want two for each of 4 chunks and the COMMIT", n)
		}
	}
	if users != o.Users || posts != o.Posts {
		t.Errorf("%d users and %d posts told of, want %d and %d", users, posts, o.Users, o.Posts)
	}
	const digest = `SELECT (SELECT md5(string_agg(u::text, '|' ORDER BY id)) FROM users u) || (SELECT md5(string_agg(p::text, '|' ORDER BY id)) FROM posts p)`
	var digests [2]string
	for i, d := range []*storetest.DB{one, two} {
		if err := d.Router.Pool().QueryRow(t.Context(), digest).Scan(&digests[i]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(digests[0], digests[1]); diff != "" {
		t.Errorf("the same seed makes other data:\n%s", diff)
	}
	if n := one.Count(t, "SELECT count(*) FROM (SELECT FROM posts GROUP BY user_id ORDER BY count(*) DESC LIMIT 100) AS x"); n != 100 {
		t.Fatalf("%d authors", n)
	}
	busy := one.Count(t, "SELECT sum(n)::int FROM (SELECT count(*) AS n FROM posts GROUP BY user_id ORDER BY n DESC LIMIT 100) AS x")
	if busy < 12_500 || busy > 20_000 {
		t.Errorf("the busiest tenth wrote %d of %d posts, want more than half", busy, o.Posts)
	}

	// The same users cannot be added twice. Nothing of the failed attempt may be left.
	o.Users, o.Posts = 2000, 10
	if err := one.Store.Seed(t.Context(), o); !errors.Is(err, postgres.ErrUnique) {
		t.Errorf("err = %v, want ErrUnique", err)
	}
	if n := one.Count(t, "SELECT count(*) FROM users"); n != 1000 {
		t.Errorf("%d users, want the 1000 of before", n)
	}
	o.Seed++
	if err := one.Store.Seed(t.Context(), o); err != nil {
		t.Errorf("another seed: %v", err)
	}
	// Seeded rows must comply with the rules of the API, which an import checks.
	one.CreatePost(t, one.CreateUser(t).ID)
	if err := one.Store.Seed(t.Context(), store.SeedOptions{Posts: 1}); err == nil {
		t.Error("posts without users: no error")
	}
}

package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"quern/internal/db"
)

// SeedOptions are the options of Seed.
type SeedOptions struct {
	Users, Posts int64

	// Seed is the seed of the random data: the same seed and numbers give the same users
	// and posts.
	Seed uint64

	// Progress is called with the numbers of users and posts so far, every few thousand
	// rows. Defaults to nil, which reports nothing.
	Progress func(users, posts int64)
}

const (
	// seedChunk is the number of rows in one COPY. The foreign keys of posts are checked at
	// its end, from a queue in memory that grows with it.
	seedChunk = 10_000

	// seedSkew and seedBend are the parameters of Zipf's law for the posts per user. Of
	// 100,000 users, the busiest writes 2 % of the posts, and the busiest 1 % write two
	// thirds.
	seedSkew = 1.15
	seedBend = 10
)

// Seed adds random users and posts by COPY, in one transaction. A few of the users write
// most of the posts. It returns postgres.ErrUnique if the users of that seed exist already.
func (s *Store) Seed(ctx context.Context, o SeedOptions) (err error) {
	defer annotate(&err, "seed")
	if o.Users < 0 || o.Posts < 0 || o.Posts > 0 && o.Users == 0 {
		return fmt.Errorf("%d users and %d posts: set both to 0 or more, and users to 1 or more if there are posts", o.Users, o.Posts)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return s.InTx(ctx, func(q *db.Queries) error {
		g := newGenerator(o.Seed)
		authors := make([]int64, 0, o.Users)
		for int64(len(authors)) < o.Users {
			drawn, err := q.DrawUserIDs(ctx, min(seedChunk, o.Users-int64(len(authors))))
			if err != nil {
				return err
			}
			users := make([]db.CopyUsersParams, len(drawn.Ids))
			for i, id := range drawn.Ids {
				users[i] = g.user(id, int64(len(authors)+i))
			}
			if _, err := q.CopyUsers(ctx, users); err != nil {
				return err
			}
			authors = append(authors, drawn.Ids...)
			o.Progress(int64(len(authors)), 0)
		}
		if o.Posts == 0 {
			return nil
		}
		return g.copyPosts(ctx, q, authors, o)
	})
}

func (g *generator) copyPosts(ctx context.Context, q *db.Queries, authors []int64, o SeedOptions) error {
	// The number of posts must not depend on the id.
	g.rand.Shuffle(len(authors), func(i, j int) { authors[i], authors[j] = authors[j], authors[i] })
	busy := rand.NewZipf(g.rand, seedSkew, seedBend, uint64(len(authors)-1))
	posts := make([]db.CopyPostsParams, 0, seedChunk)
	for done := int64(0); done < o.Posts; {
		posts = posts[:0]
		drawn, err := q.DrawPostIDs(ctx, min(seedChunk, o.Posts-done))
		if err != nil {
			return err
		}
		for _, id := range drawn.Ids {
			// In chronological order, spread over the year.
			at := seedYear.Add(time.Duration(float64(done+int64(len(posts))) / float64(o.Posts) * float64(seedSpan)))
			posts = append(posts, g.post(id, authors[busy.Uint64()], at))
		}
		if _, err := q.CopyPosts(ctx, posts); err != nil {
			return err
		}
		done += int64(len(posts))
		o.Progress(o.Users, done)
	}
	return nil
}

// The posts are from one year, the users from the year before.
var (
	seedYear = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	seedSpan = 365 * 24 * time.Hour
)

// generator creates users and posts.
type generator struct {
	rand   *rand.Rand
	tags   *rand.Zipf
	prefix string // of the usernames, so that two seeds do not collide
	text   []byte
}

func newGenerator(seed uint64) *generator {
	r := rand.New(rand.NewPCG(seed, 0))
	return &generator{rand: r, tags: rand.NewZipf(r, 1.3, 2, uint64(len(seedTags)-1)), prefix: strconv.FormatUint(seed, 36)}
}

func (g *generator) user(id, n int64) db.CopyUsersParams {
	name := seedNames[g.rand.IntN(len(seedNames))]
	username := name + "." + g.prefix + "." + strconv.FormatInt(n, 36)
	u := db.CopyUsersParams{
		ID: id, Username: username, Email: username + "@example.com", Tags: g.someTags(3), Version: 1,
		CreatedAt: seedYear.Add(-time.Duration(g.rand.Int64N(int64(seedSpan)))).Truncate(time.Millisecond),
	}
	u.UpdatedAt = u.CreatedAt
	// One in ten users has no age. The age of most others is around 35.
	if g.rand.IntN(10) > 0 {
		age := int32(min(99, max(13, 35+g.rand.NormFloat64()*14)))
		u.Age = &age
	}
	return u
}

func (g *generator) post(id, author int64, at time.Time) db.CopyPostsParams {
	at = at.Truncate(time.Millisecond)
	p := db.CopyPostsParams{ID: id, UserID: author, Tags: g.someTags(5), CreatedAt: at, UpdatedAt: at, Version: 1}
	g.text = g.text[:0]
	g.sentence(3 + g.rand.IntN(5))
	p.Title = strings.TrimSuffix(string(g.text), ".")
	g.text = g.text[:0]
	for i := range 1 + g.rand.IntN(5) {
		if i > 0 {
			g.text = append(g.text, ' ')
		}
		g.sentence(5 + g.rand.IntN(10))
	}
	p.Content = string(g.text)
	return p
}

// sentence appends a sentence of n words.
func (g *generator) sentence(n int) {
	start := len(g.text)
	for i := range n {
		if i > 0 {
			g.text = append(g.text, ' ')
		}
		g.text = append(g.text, seedWords[g.rand.IntN(len(seedWords))]...)
	}
	g.text[start] -= 'a' - 'A'
	g.text = append(g.text, '.')
}

// someTags returns up to most different tags, some far more often than others.
func (g *generator) someTags(most int) []string {
	tags := []string{}
	for range g.rand.IntN(most + 1) {
		tag := seedTags[g.tags.Uint64()]
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

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

// SeedOptions say which demo data to make.
type SeedOptions struct {
	Users, Posts int64

	// Seed decides what the data are: the same seed and numbers make the same
	// users and posts, another seed others.
	Seed uint64

	// Progress is called with how much is there, every few thousand rows.
	// Defaults to not telling.
	Progress func(users, posts int64)
}

const (
	// seedChunk is how many rows go in one COPY. The keys of posts are checked
	// at its end, out of a queue that grows with it.
	seedChunk = 10_000

	// seedSkew and seedBend shape Zipf's law, by which users write: of 100,000
	// the busiest writes two in a hundred posts, and the busiest hundredth of
	// them two thirds.
	seedSkew = 1.15
	seedBend = 10
)

// Seed adds made-up users and posts by COPY, in one transaction: all of them or
// none. Few of the users write most of the posts. It fails with
// postgres.ErrUnique when that seed's users are there already.
func (s *Store) Seed(ctx context.Context, o SeedOptions) (err error) {
	defer annotate(&err, "seed")
	if o.Users < 0 || o.Posts < 0 || o.Posts > 0 && o.Users == 0 {
		return fmt.Errorf("%d users and %d posts: no number below 0, and no posts without users", o.Users, o.Posts)
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
	// Who writes much has nothing to do with who came first.
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
			// In the order of time, spread over the year.
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

// The posts are of one year, the users of the one before.
var (
	seedYear = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	seedSpan = 365 * 24 * time.Hour
)

// generator makes up users and posts.
type generator struct {
	rand   *rand.Rand
	tags   *rand.Zipf
	prefix string // of the usernames, so that seeds do not meet
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
	// One in ten does not tell; most of the others are around 35.
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

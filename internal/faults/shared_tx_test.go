//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// registrar registers a user with posts.
type registrar func(ctx context.Context, r store.Registration) (*db.User, []*db.Post, error)

// registration is a request of one caller, with its expected result.
type registration struct {
	store.Registration
	refusal *refusal // nil if it must be stored, unless a rival has the name
	rival   bool     // other registrations request the same name, and one of them gets it
	away    bool     // its caller goes away soon

	user  *db.User
	posts []*db.Post
	err   error
}

// registrations are the results that callers got, to compare them with the stored rows.
type registrations struct {
	findings
	name string
	seed uint64

	mu   sync.Mutex
	list []registration
}

// get returns the nth registration, which is always the same.
func (r *registrations) get(n int) (made registration) {
	random := rand.New(rand.NewPCG(r.seed, uint64(n)))
	age := int32(n % 151)
	made.User = db.CreateUserParams{Username: fmt.Sprint(r.name, n), Email: fmt.Sprint(n, "@x"), Age: &age, Tags: []string{fmt.Sprint(n)}}
	for i := range random.IntN(4) {
		made.Posts = append(made.Posts, store.NewPost{Title: fmt.Sprint(n, " post ", i), Content: strings.Repeat("x", i), Tags: []string{fmt.Sprint(i)}})
	}
	post := store.NewPost{Title: "t", Content: "c"}
	switch random.IntN(100) {
	case 0:
		age = 151
		made.refusal = check("users_age_range")
	case 1:
		made.User.Username = ""
		made.refusal = check("users_username_length")
	case 2:
		post.Title = ""
		made.Posts, made.refusal = append(made.Posts, post), check("posts_title_length")
	case 3:
		post.Content = "\x00"
		made.Posts, made.refusal = append(made.Posts, post), invalid
	case 4, 5, 6, 7, 8, 9, 10, 11:
		made.User.Username, made.rival = fmt.Sprint(r.name, "of many ", n/64), true
	case 12, 13, 14:
		made.away = true
	}
	return made
}

// register makes the nth registration and records the result.
func (r *registrations) register(ctx context.Context, by registrar, n int) {
	got := r.get(n)
	if got.away {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(10*time.Millisecond))
		defer cancel()
	}
	got.user, got.posts, got.err = by(ctx, got.Registration)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, got)
}

// registerAll makes a crowd register n users.
func (r *registrations) registerAll(t testing.TB, by registrar, callers, n int) {
	var next atomic.Int64
	crowd(callers, func(int) {
		for i := next.Add(1); i <= int64(n); i = next.Add(1) {
			r.register(t.Context(), by, int(i))
		}
	})
}

// own reports whether the result is the one that the registration must have if it is alone.
func (r registration) own() bool {
	var e *postgres.Error
	switch {
	case r.refusal != nil:
		return errors.Is(r.err, r.refusal.kind) && errors.As(r.err, &e) && e.Constraint == r.refusal.constraint
	case r.rival && r.err != nil:
		return errors.Is(r.err, taken.kind) && errors.As(r.err, &e) && e.Constraint == taken.constraint
	}
	return r.err == nil
}

// fits reports whether the rows are the requested ones.
func (r registration) fits(user *db.User, posts []*db.Post) bool {
	return user.Username == r.User.Username && user.Email == r.User.Email && same(user.Age, r.User.Age) && slices.Equal(user.Tags, r.User.Tags) &&
		slices.EqualFunc(r.Posts, posts, func(want store.NewPost, got *db.Post) bool {
			return got.UserID == user.ID && got.Title == want.Title && got.Content == want.Content && slices.Equal(got.Tags, want.Tags)
		})
}

// check compares the results with each request and with the rows that are stored on the
// node. An error that excused allows may come instead of the own result, and nothing may be
// stored then unless it is ErrCommitUnknown.
func (r *registrations) check(t testing.TB, n *node, excused func(error) bool) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := n.dial(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	posts := map[int64][]*db.Post{}
	for _, p := range all[db.Post](t, conn, "SELECT id, user_id, title, content, tags, created_at, updated_at, version FROM posts ORDER BY id") {
		posts[p.UserID] = append(posts[p.UserID], p)
	}
	stored := map[string]*db.User{}
	for _, u := range all[db.User](t, conn, "SELECT id, username, email, age, tags, created_at, updated_at, version FROM users") {
		if strings.HasPrefix(u.Username, r.name) {
			stored[u.Username] = u
		}
	}
	winners, unknown, rivals := map[string]int{}, map[string]int{}, map[string]bool{}
	for _, got := range r.list {
		name := got.User.Username
		user := stored[name]
		rivals[name] = rivals[name] || got.rival && got.own()
		switch away := got.away && (errors.Is(got.err, context.DeadlineExceeded) || errors.Is(got.err, postgres.ErrTimeout)); {
		case errors.Is(got.err, postgres.ErrCommitUnknown) && (away || excused(got.err)):
			unknown[name]++
		case got.err != nil:
			if !got.own() && !away && !excused(got.err) {
				r.add(wrongRefusal, "%q, which is to be refused with %v: %v", name, got.refusal, got.err)
			}
			if user != nil && !got.rival {
				r.add(ghostInsert, "%q failed with %v", name, got.err)
			}
		case !got.own():
			r.add(acceptedWrong, "%q", name)
		case !got.fits(got.user, got.posts):
			r.add(foreignRow, "%q got %+v with %d posts", name, got.user, len(got.posts))
		case user == nil:
			r.add(lostInsert, "%q", name)
		default:
			winners[name]++
			if diff := cmp.Diff(append([]*db.Post{}, posts[user.ID]...), got.posts); !cmp.Equal(user, got.user) || diff != "" {
				r.add(alteredInsert, "%q (-stored +returned): %s%s", name, cmp.Diff(user, got.user), diff)
			}
		}
	}
	for name := range rivals {
		if winners[name] > 1 || rivals[name] && winners[name]+unknown[name] == 0 && stored[name] == nil {
			r.add(wonTwice, "%q was given %d times", name, winners[name])
		}
	}
	for name := range stored {
		if winners[name]+unknown[name] == 0 {
			r.add(ghostInsert, "%q is stored, and no caller got it", name)
		}
	}
	t.Logf("%d registrations: %d users stored, %d names given, %d in doubt", len(r.list), len(stored), len(winners), len(unknown))
}

// TestCrowdRegisters makes a crowd register users with posts, which share transactions.
// Some have wrong values or a taken name, and some callers go away. Each caller must get
// its own result, and exactly the acknowledged rows must be stored.
func TestCrowdRegisters(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	p := proxyTo(t, c.primary.address())
	_, q := connect(t, postgres.Config{URL: c.primary.urlVia(p.address()), MaxConns: crowdConns})
	r := &registrations{name: "shared ", seed: 1}
	r.registerAll(t, store.New(q).RegisterUser, crowdSize, times(4000, 100_000))
	c.primary.waitForBackends(t)
	r.check(t, c.primary, never)
	r.findings.check(t)
	if n := p.count("CreateCommitMarkers"); n == 0 || n > len(r.list)/2 {
		t.Errorf("%d transactions were shared by %d registrations", n, len(r.list))
	}
}

// TestCrowdRegistersNaive shows that the check detects wrong ways to share a transaction.
func TestCrowdRegistersNaive(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	for _, variant := range []struct {
		name  string
		by    registrar
		wrong string
	}{
		{"OneOutcome", oneOutcome(q, 8, false), wrongRefusal},
		{"AsAnswered", oneOutcome(q, 8, true), lostInsert},
		{"MixingUp", mixedUp(store.New(q).RegisterUser), foreignRow},
	} {
		t.Run(variant.name, func(t *testing.T) {
			r := &registrations{name: variant.name + " ", seed: 1}
			r.registerAll(t, variant.by, 64, 640)
			r.check(t, c.primary, never)
			t.Log("the check found:", &r.findings)
			r.require(t, variant.wrong)
		})
	}
}

// oneOutcome lets n callers share a transaction, and gives its error to all of them. If
// asAnswered is set, only those get the error whose statements were not answered before it.
func oneOutcome(q *db.Queries, n int, asAnswered bool) registrar {
	type call struct {
		store.Registration
		user  *db.User
		posts []*db.Post
		err   error
	}
	var mu sync.Mutex
	var queue []*call
	var sent chan struct{}
	run := func(list []*call, done chan struct{}) {
		defer close(done)
		ctx := context.Background()
		err := q.InTx(ctx, func(q *db.Queries) error {
			s := store.New(q)
			var first error
			for _, c := range list {
				if c.user, c.posts, c.err = nil, nil, first; first == nil {
					c.user, c.posts, c.err = s.RegisterUser(ctx, c.Registration)
					first = c.err
				}
			}
			return first
		})
		for _, c := range list {
			if !asAnswered {
				c.err = err
			}
		}
	}
	return func(ctx context.Context, r store.Registration) (*db.User, []*db.Post, error) {
		c := &call{Registration: r}
		mu.Lock()
		if len(queue) == 0 {
			sent = make(chan struct{})
		}
		queue = append(queue, c)
		done := sent
		if len(queue) == n {
			go run(queue, done)
			queue = nil
		}
		mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(time.Second): // too few callers are left
			return nil, nil, &postgres.Error{Kind: postgres.ErrTimeout, Err: context.DeadlineExceeded}
		}
		return c.user, c.posts, c.err
	}
}

// mixedUp sometimes gives one caller the rows of another.
func mixedUp(by registrar) registrar {
	var last atomic.Pointer[db.User]
	var n atomic.Int64
	return func(ctx context.Context, r store.Registration) (*db.User, []*db.Post, error) {
		user, posts, err := by(ctx, r)
		if err != nil {
			return nil, nil, err
		}
		if other := last.Swap(user); other != nil && n.Add(1)%50 == 0 {
			user = other
		}
		return user, posts, nil
	}
}

// sharers is how many callers of one process write at the same time, so that they share
// transactions.
const sharers = 8

// TestLostShared is TestLostPipeline for pipelines that share a transaction. Each caller
// must resolve its own outcome by its own marker.
func TestLostShared(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	l.coalesced = true
	loseAnswers(t, c, isCommit, times(2, 25), open, func(ctx context.Context, q *db.Queries, name string, i int) {
		crowd(sharers, func(caller int) { l.writePiped(ctx, q, fmt.Sprint(name, " ", caller), caller%2 == 1) })
	})
	b := l.check(t, c.primary)
	t.Logf("%v, %d read back%s", b, l.readBacks.Load(), l.failures())
	if b.acknowledged == 0 || l.readBacks.Load() == 0 {
		t.Error("nothing was acknowledged, or nothing read back: the test shows nothing")
	}
	shared := ask[int](t, c.primary, "SELECT count(*) - count(DISTINCT xmin::text) FROM commit_markers")
	if shared == 0 {
		t.Error("no transaction was shared: the test shows nothing")
	}
	if b.unknown > b.acknowledged/4 {
		t.Errorf("%d outcomes are unknown of %d: nearly all can be settled", b.unknown, len(l.entries))
	}
}

// TestKillShared is TestKill for pipelines that share a transaction.
func TestKillShared(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	l.coalesced = true
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: 8, MinConns: 2})
	var over atomic.Bool
	var all sync.WaitGroup
	stop := func() {
		over.Store(true)
		all.Wait()
	}
	defer stop()
	for writer := range 3 * sharers {
		all.Go(func() {
			for i := 0; !over.Load(); i++ {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
				l.writePiped(ctx, q, fmt.Sprint(writer, " ", i), i%2 == 1)
				cancel()
			}
		})
	}
	more := func() {
		t.Helper()
		before := l.acknowledged()
		eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= before+200 })
	}
	for range times(2, 50) {
		more()
		c.primary.killBackend(t)
		more()
		c.primary.kill(t)
		c.primary.start(t)
	}
	more()
	stop()
	c.primary.waitForBackends(t)
	b := l.check(t, c.primary)
	t.Logf("%v, %d read back%s", b, l.readBacks.Load(), l.failures())
	if b.unknown > b.acknowledged/100 {
		t.Errorf("%d outcomes are unknown of %d: nearly all can be settled", b.unknown, len(l.entries))
	}
	if shared := ask[int](t, c.primary, "SELECT count(*) - count(DISTINCT xmin::text) FROM commit_markers"); shared == 0 {
		t.Error("no transaction was shared: the test shows nothing")
	}
}

package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"

	"quern/bench/internal/measure"
	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// project is Quern as its own server uses it.
type project struct {
	queries *db.Queries
	store   *store.Store
	api     http.Handler
}

func openQuern(ctx context.Context, c Config) (*Peer, error) {
	quiet := slog.New(slog.DiscardHandler)
	router, err := postgres.Connect(ctx, postgres.Config{
		URL: c.URL, Statements: db.Statements, MaxConns: Pool, MinConns: Pool, SlowQuery: -1, Logger: quiet,
	})
	if err != nil {
		return nil, err
	}
	q := db.New(router)
	p := project{queries: q, store: store.New(q)}
	p.api = api.New(api.Config{Queries: q, Store: p.store, Logger: quiet})
	ops := map[string]measure.Op{
		"point": p.point, "page": p.list(PageSize), "list-1000": p.list(ShortList), "list-10000": p.list(LongList),
		"stream-1000": p.stream(ShortList), "stream-10000": p.stream(LongList),
		"insert": p.insert, "tx": p.register, "tx: without the marker": p.tx,
		"eager": p.eager, "aggregate": p.aggregate, "bulk-update": p.bulkUpdate,
		"json-page":   p.get(fmt.Sprintf("/v1/users?limit=%d", PageSize)),
		"json-tree":   p.get(fmt.Sprintf("/v1/users?limit=%d&include=posts", EagerUsers)),
		"connections": p.point,
		"deep-page":   p.firstPage, "deep-page: deep": p.deepPage,
	}
	p.addStatistics(ops)
	p.addLoads(ops, c)
	for name, op := range ops {
		ops[name] = inTime(op)
	}
	return &Peer{
		Name: "quern", Version: "this commit", Ops: ops,
		About:  "the generated queries on its Router and the methods of its store, with all safeguards: deadlines, metrics, policies by name",
		Opened: func() int64 { return router.Pool().Stat().NewConnsCount() },
		close:  func() error { router.Close(); return nil },
	}, nil
}

// inTime converts the error of a statement that exceeded its deadline to
// ErrRefused. The other peers have no deadlines.
func inTime(op measure.Op) measure.Op {
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		err := op(ctx, in, f)
		if errors.Is(err, postgres.ErrTimeout) || errors.Is(err, postgres.ErrPoolExhausted) {
			return fmt.Errorf("%w: %w", measure.ErrRefused, err)
		}
		return err
	}
}

func foldRow(f *measure.Fold, u *db.User) {
	if f != nil {
		f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
}

func foldRows(f *measure.Fold, users []*db.User) {
	if f != nil {
		for _, u := range users {
			foldRow(f, u)
		}
	}
}

func (p project) point(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u, err := p.queries.GetUser(ctx, in.ID())
	if err == nil {
		foldRow(f, u)
	}
	return given(err)
}

func (p project) users(ctx context.Context, after int64, limit int) ([]*db.User, error) {
	return p.queries.ListUsersAfter(ctx, db.ListUsersAfterParams{Key: after, RowLimit: int64(limit)})
}

func (p project) list(limit int) measure.Op {
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		users, err := p.users(ctx, in.After(limit), limit)
		foldRows(f, users)
		return err
	}
}

func (p project) stream(limit int) measure.Op {
	return func(ctx context.Context, in *measure.Input, f *measure.Fold) error {
		q := db.ListUsersAfterParams{Key: in.After(limit), RowLimit: int64(limit)}
		for u, err := range p.queries.ListUsersAfterStream(ctx, q) {
			if err != nil {
				return err
			}
			foldRow(f, &u)
		}
		return nil
	}
}

func (p project) insert(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	n := in.User()
	u, err := p.queries.CreateUser(ctx, params(n))
	return p.created(in, f, u, err)
}

func params(n measure.NewUser) db.CreateUserParams {
	return db.CreateUserParams{Username: n.Username, Email: n.Email, Age: &n.Age, Tags: n.Tags}
}

func (project) created(in *measure.Input, f *measure.Fold, u *db.User, err error) error {
	if errors.Is(err, postgres.ErrUnique) {
		return nil // the outcome is known
	}
	if err != nil {
		return err
	}
	in.Inserted()
	if f != nil {
		f.Created(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	}
	return nil
}

// register is the transaction with the marker that resolves a lost COMMIT.
func (p project) register(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	u, _, err := p.store.RegisterUser(ctx, store.Registration{
		User:  params(in.User()),
		Posts: []store.NewPost{{Title: firstTitle, Content: firstContent, Tags: firstTags()}},
	})
	return p.created(in, f, u, err)
}

// tx does the same as the reference. If the answer is lost, it is unknown
// whether the transaction committed.
func (p project) tx(ctx context.Context, in *measure.Input, f *measure.Fold) error {
	n := params(in.User())
	tags, err := json.Marshal(firstTags())
	if err != nil {
		return err
	}
	var u *db.User
	var queued *postgres.Queued[*db.User]
	err = p.queries.Pipeline(ctx, postgres.TxOptions{NoMarker: true}, func(b *postgres.Batch) error {
		queued = p.queries.QueueCreateUser(b, n)
		p.queries.QueueCreatePostsOfNewUser(b, db.CreatePostsOfNewUserParams{
			Titles: []string{firstTitle}, Contents: []string{firstContent}, Tags: [][]byte{tags},
		})
		return nil
	})
	if err == nil {
		u, err = queued.Get()
	}
	return p.created(in, f, u, err)
}

func (p project) eager(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	page, err := p.store.PageUsersWithPosts(ctx, store.UserFilter{}, store.PageRequest[int64]{Limit: EagerUsers})
	if err != nil {
		return err
	}
	for _, u := range page.Items {
		foldTree(f, []*db.User{u.User}, [][]*db.Post{u.Posts})
	}
	return nil
}

// foldTree folds users with their posts. The nth list of posts belongs to the
// nth user.
func foldTree(f *measure.Fold, users []*db.User, posts [][]*db.Post) {
	if f == nil {
		return
	}
	for i, u := range users {
		foldRow(f, u)
		for _, post := range posts[i] {
			f.Post(post.ID, post.Title)
		}
	}
}

func (p project) aggregate(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
	page, err := p.store.UserStats(ctx, store.UserStatsRequest{MinPosts: MorePosts, Limit: math.MaxInt32})
	foldStats(f, page.Items)
	return err
}

func foldStats(f *measure.Fold, rows []*db.ListUserStatsRow) {
	if f == nil {
		return
	}
	counts := make([]count, len(rows))
	for i, r := range rows {
		counts[i] = count{r.ID, r.Username, r.PostCount}
	}
	foldCounts(f, counts)
}

func (p project) bulkUpdate(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	ids, age := ages(in)
	changes := make([]db.UpdateUserParams, len(ids))
	for i := range ids {
		changes[i] = db.UpdateUserParams{ID: ids[i], SetAge: true, Age: &age[i]}
	}
	done, err := p.store.PatchUsers(ctx, changes)
	if err == nil && done.Done != len(ids) {
		err = fmt.Errorf("%d of %d users were changed", done.Done, len(ids))
	}
	return err
}

func (p project) firstPage(ctx context.Context, _ *measure.Input, _ *measure.Fold) error {
	return page(p.users(ctx, 0, PageSize))
}

func (p project) deepPage(ctx context.Context, in *measure.Input, _ *measure.Fold) error {
	return page(p.users(ctx, in.Deep(), PageSize))
}

// get calls the API in this process without a network.
func (p project) get(path string) measure.Op {
	return func(ctx context.Context, _ *measure.Input, f *measure.Fold) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		w := &answer{header: http.Header{}, status: http.StatusOK}
		p.api.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			return fmt.Errorf("GET %s: %d: %s", path, w.status, w.body.Bytes())
		}
		if f != nil {
			return f.JSON(w.body.Bytes())
		}
		return nil
	}
}

// answer stores the output of a handler.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

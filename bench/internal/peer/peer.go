// Package peer has the peers that are compared. Each does the same work on the
// same tables in the way, and with the settings, that suit it best.
//
//	pgx.go            handwritten pgx, which is the reference
//	pgx_forms.go      other ways to do the same with pgx
//	quern.go          the project itself
//	sqlc.go           the generated code on a plain pool
//	gorm.go bun.go ent.go sqlx.go
//	python.go         peers in Python, in other processes
package peer

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"quern/bench/internal/measure"
)

// Pool is the number of connections that each peer may have.
const Pool = 8

// Sizes of reads and writes.
const (
	PageSize   = 100
	EagerUsers = 1000
	MorePosts  = 5      // the aggregate counts users with more posts than this
	BulkRows   = 10_000 // rows of the bulk update
)

// The sizes of the lists.
const (
	ShortList = 1000
	LongList  = 10_000
)

// Peer is one library or program that accesses the database.
type Peer struct {
	Name    string
	Version string
	About   string // its setup

	// Ops are its operations, by workload. "eager: JOIN" is another form of the
	// workload eager.
	Ops map[string]measure.Op

	// Opened returns how many connections its pool has opened so far. It is the pool's own
	// counter, because the server's counter is seconds late. It is nil if connections are not
	// counted.
	Opened func() int64

	// Remote is a peer in another process, which has no Ops.
	Remote *Python

	close func() error
}

// Close closes its connections.
func (p *Peer) Close() error { return p.close() }

// Config sets the database and the rows.
type Config struct {
	URL   string
	Users int64 // their ids are 1 to this
	Load  *Load // rows of the bulk load, or nil
}

// Open connects every peer in Go, the reference first.
func Open(ctx context.Context, c Config) (peers []*Peer, err error) {
	for _, open := range []func(context.Context, Config) (*Peer, error){
		openPgx, openQuern, openSqlc, openGorm, openBun, openEnt, openSqlx,
	} {
		p, err := open(ctx, c)
		if err != nil {
			for _, p := range peers {
				_ = p.Close()
			}
			return nil, err
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// OpenMain connects only the reference and the project.
func OpenMain(ctx context.Context, c Config) ([]*Peer, error) {
	reference, err := openPgx(ctx, c)
	if err != nil {
		return nil, err
	}
	quern, err := openQuern(ctx, c)
	if err != nil {
		_ = reference.Close()
		return nil, err
	}
	return []*Peer{reference, quern}, nil
}

// version returns the version of a module that is linked in.
func version(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}

// User is a row of users, as a handwritten program would define it.
type User struct {
	ID        int64     `json:"id"`
	Username  string    `json:"username"`
	Email     string    `json:"email"`
	Age       *int32    `json:"age"`
	Tags      []string  `json:"tags"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int32     `json:"version"`
	Posts     []*Post   `json:"posts,omitzero"`
}

func (u *User) fold(f *measure.Fold) {
	if f == nil {
		return
	}
	f.User(u.ID, u.Username, u.Email, u.Age, u.Tags, u.CreatedAt)
	for i := range u.Posts {
		f.Post(u.Posts[i].ID, u.Posts[i].Title)
	}
}

// foldAll folds users unless f is nil.
func foldAll(f *measure.Fold, users []User) {
	if f == nil {
		return
	}
	for i := range users {
		users[i].fold(f)
	}
}

// Post is a row of posts.
type Post struct {
	ID        int64     `json:"id"`
	UserID    int64     `json:"user_id"`
	Title     string    `json:"title"`
	Content   string    `json:"content"`
	Tags      []string  `json:"tags"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int32     `json:"version"`
}

// count is a user with the number of posts.
type count struct {
	ID        int64
	Username  string
	PostCount int64
}

// foldCounts folds counts in the order of the users.
func foldCounts(f *measure.Fold, counts []count) {
	if f == nil {
		return
	}
	byUser := map[int64]int64{}
	for _, c := range counts {
		byUser[c.ID] = c.PostCount
	}
	for _, id := range slices.Sorted(maps.Keys(byUser)) {
		f.Count(id, byUser[id])
	}
}

// The post that is inserted with a user.
const (
	firstTitle   = "Hello"
	firstContent = "The first post of a new user."
)

func firstTags() []string { return []string{"hello"} }

// ages returns new ages for the first users. Consecutive calls return different
// ages.
func ages(in *measure.Input) (ids []int64, age []int32) {
	ids, age = make([]int64, BulkRows), make([]int32, BulkRows)
	shift := in.Random(80)
	for i := range ids {
		ids[i], age[i] = int64(i+1), int32((int64(i)+shift)%80)+18
	}
	return ids, age
}

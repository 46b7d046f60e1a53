//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// citusCut is what happens to the first statement of a kind that the coordinator sends to a
// worker in a round.
type citusCut struct {
	name string
	how  fault
	kill string // "", "worker" or "coordinator", at that moment
}

var citusCuts = []citusCut{
	{"DroppedBefore", cutBefore, ""},
	{"DroppedAfter", dropAnswer, ""},
	{"WorkerBefore", cutBefore, "worker"},
	{"WorkerAfter", dropAnswer, "worker"},
	{"CoordinatorBefore", cutBefore, "coordinator"},
	{"CoordinatorAfter", dropAnswer, "coordinator"},
}

// citusMoment is a statement with which the coordinator commits on a worker.
type citusMoment struct {
	name string
	hit  func(sql string) bool
}

var (
	// If a transaction writes on several nodes.
	twoPhases = []citusMoment{
		{"Prepare", func(sql string) bool { return strings.HasPrefix(sql, "PREPARE TRANSACTION") }},
		{"CommitPrepared", func(sql string) bool { return strings.HasPrefix(sql, "COMMIT PREPARED") }},
	}
	// If it writes on one.
	onePhase = []citusMoment{{"Commit", func(sql string) bool { return sql == "COMMIT" }}}
)

// citusWrite is a write that must take effect once, although its transaction is cut.
type citusWrite struct {
	moments []citusMoment
	write   func(ctx context.Context, name string) error
	// keyed says that write may be repeated with the same name if its outcome is unknown.
	keyed bool
	// stored is a query for how many names that begin with $1 are stored, and how many of them
	// are different and complete.
	stored string
}

// TestCitus repeats each request with its key until it is answered, while connections are cut
// and nodes are killed between the commits of a transaction. Each takes effect once.
func TestCitus(t *testing.T) {
	c := newCitus(t, serviceOnCitus)
	owner := askURL[int64](t, c.coordinator.url, "INSERT INTO users (username, email) VALUES ('owner', 'x') RETURNING id")
	_, q := connect(t, postgres.Config{URL: c.coordinator.url.String(), MaxConns: 4})
	c.cutEach(t, citusWrite{moments: twoPhases, keyed: true, write: func(ctx context.Context, title string) error {
		_, _, err := store.New(q).Once(ctx, store.Keyed{Key: title, Hash: []byte(title)}, func(q *db.Queries) ([]byte, error) {
			_, err := q.CreatePost(ctx, db.CreatePostParams{UserID: owner, Title: title, Tags: []string{}})
			return []byte("{}"), err
		})
		return err
	}, stored: "SELECT ARRAY[count(*), count(DISTINCT title)] FROM posts WHERE starts_with(title, $1)"})
}

// cutEach cuts w at each of its moments in each way.
func (c *citusCluster) cutEach(t *testing.T, w citusWrite) {
	for _, moment := range w.moments {
		for _, cut := range citusCuts {
			if t.Failed() {
				return // a node may be down
			}
			t.Run(moment.name+"/"+cut.name, func(t *testing.T) {
				rounds, hits, attempts, unknown := times(5, 100), 0, 0, 0
				for i := range rounds {
					running := c.arm(t, moment.hit, cut)
					n, err := w.untilAnswered(t.Context(), fmt.Sprintf("%s %d", t.Name(), i))
					attempts += n
					switch {
					case errors.Is(err, postgres.ErrCommitUnknown):
						unknown++
					case err != nil:
						t.Fatalf("round %d was never answered: %v", i, err)
					}
					hits += c.disarm()
					running()
				}
				execURL(t, c.coordinator.url, "SELECT recover_prepared_transactions()")
				stored := askURL[[]int](t, c.coordinator.url, w.stored, t.Name()+" ")
				t.Logf("%d rounds, %d cut, %d attempts, %d unknown: %d stored, %d distinct", rounds, hits, attempts, unknown, stored[0], stored[1])
				if stored[0] != stored[1] || stored[0] < rounds-unknown || stored[0] > rounds {
					t.Errorf("%d with %d names are stored, want %d to %d", stored[0], stored[1], rounds-unknown, rounds)
				}
				if hits == 0 {
					t.Error("nothing was cut: the test shows nothing")
				}
			})
		}
	}
}

// untilAnswered repeats w as clients do, and returns how often. After half a minute it returns
// the error.
func (w citusWrite) untilAnswered(ctx context.Context, name string) (attempts int, err error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		attempts++
		err := w.write(ctx, name)
		if err == nil || errors.Is(err, postgres.ErrCommitUnknown) && !w.keyed || time.Since(began) > 30*time.Second {
			return attempts, err
		}
	}
}

// TestCitus_Alone drops the answer to the INSERT of a single statement on its worker. Its outcome
// is unknown, and it is not repeated.
func TestCitus_Alone(t *testing.T) {
	c := newCitus(t, serviceOnCitus)
	owner := askURL[int64](t, c.coordinator.url, "INSERT INTO users (username, email) VALUES ('owner', 'x') RETURNING id")
	_, q := connect(t, postgres.Config{URL: c.coordinator.url.String(), MaxConns: 4})
	isInsert := func(sql string) bool { return strings.Contains(sql, "INSERT INTO public.posts_") }
	rounds, unknown := times(5, 40), 0
	for i := range rounds {
		c.arm(t, isInsert, citusCut{how: dropAnswer})
		_, err := q.CreatePost(t.Context(), db.CreatePostParams{UserID: owner, Title: fmt.Sprint("alone ", i), Tags: []string{}})
		switch {
		case errors.Is(err, postgres.ErrCommitUnknown):
			unknown++
		case err != nil:
			t.Errorf("%v, want ErrCommitUnknown", err)
		}
		c.disarm()
	}
	twice := askURL[int](t, c.coordinator.url, "SELECT count(*) FROM (SELECT title FROM posts GROUP BY title HAVING count(*) > 1) AS t")
	t.Logf("%d rounds: %d unknown, %d stored twice", rounds, unknown, twice)
	if twice > 0 || unknown == 0 {
		t.Errorf("%d are stored twice, %d of %d are unknown", twice, unknown, rounds)
	}
}

// TestCitus_Move exports and counts posts while their shards move to another worker.
func TestCitus_Move(t *testing.T) {
	c := newCitus(t, serviceOnCitus)
	execURL(t, c.coordinator.url, "INSERT INTO users (username, email) SELECT 'user' || i, 'x' FROM generate_series(1, 50) AS i")
	execURL(t, c.coordinator.url, "INSERT INTO posts (user_id, title, content) SELECT u.id, 'post ' || i, repeat('x', 500) FROM users AS u CROSS JOIN generate_series(1, 200) AS i")
	const posts = 50 * 200
	_, q := connect(t, postgres.Config{URL: c.coordinator.url.String(), MaxConns: 4})
	moved := make(chan error, 1)
	go func() {
		var err error
		for range times(1, 4) {
			err = errors.Join(err, tryURL(t.Context(), c.coordinator.url, `SELECT citus_move_shard_placement(shardid, nodename, nodeport, other.host, other.port, 'force_logical')
				FROM (SELECT DISTINCT ON (nodename, nodeport) shardid, nodename, nodeport FROM citus_shards WHERE table_name = 'posts'::regclass ORDER BY nodename, nodeport, shardid) AS s
				CROSS JOIN LATERAL (SELECT n.nodename AS host, n.nodeport AS port FROM pg_dist_node AS n
					WHERE n.groupid > 0 AND (n.nodename, n.nodeport) <> (s.nodename, s.nodeport) LIMIT 1) AS other LIMIT 1`))
		}
		moved <- err
	}()
	looks := 0
	for done := false; !done; looks++ {
		select {
		case err := <-moved:
			if err != nil {
				t.Fatalf("move a shard: %v", err)
			}
			done = true
		default:
		}
		overview, err := q.GetOverview(t.Context())
		if err != nil || overview.Posts != posts {
			t.Fatalf("the overview counts %d posts, %v, want %d", overview.Posts, err, posts)
		}
		seen := map[int64]bool{}
		for p, err := range q.ExportPostsStream(t.Context(), nil) {
			if err != nil {
				t.Fatalf("the export: %v", err)
			}
			seen[p.ID] = true
		}
		if len(seen) != posts {
			t.Fatalf("the export has %d posts, want %d", len(seen), posts)
		}
	}
	t.Logf("%d exports while shards moved", looks)
}

// arm makes the next statement that hit picks, on its way to any worker, meet its cut. A node
// that is killed is started again at once. The returned function waits for that.
func (c *citusCluster) arm(t *testing.T, hit func(string) bool, cut citusCut) (running func()) {
	var fired atomic.Bool
	var starts sync.WaitGroup
	for i, p := range c.between {
		victim := map[string]*citusNode{"worker": c.workers[i], "coordinator": c.coordinator}[cut.kill]
		kill := func() {
			if victim != nil {
				victim.kill(t)
				starts.Go(func() {
					if err := victim.start(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		p.mu.Lock()
		p.afterLoss = nil
		p.mu.Unlock()
		p.lose(hit, func(int) fault {
			if !fired.CompareAndSwap(false, true) {
				return passOn
			}
			if cut.how == cutBefore {
				kill()
			} else if victim != nil {
				p.afterLoss = kill
			}
			return cut.how
		})
	}
	return starts.Wait
}

// disarm returns how many statements were cut since arm.
func (c *citusCluster) disarm() (cut int) {
	for _, p := range c.between {
		cut += p.losses()
		p.lose(nil, nil)
	}
	return cut
}

//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

const (
	// commitWait is how long a COMMIT waits for its answer if the caller sets no
	// deadline. It is enough for a busy machine and costs the test little time.
	commitWait = 400 * time.Millisecond

	// callerWait is the deadline of a caller who sets one. It leaves time for a
	// COMMIT that hangs and for resolving it.
	callerWait = 2 * time.Second
)

// sometimes returns a decision that loses a COMMIT in the given share of all
// cases. It decides the same in each run, and always loses the first.
func sometimes(how fault, share float64) func(int) fault {
	h := fnv.New64a()
	h.Write([]byte(how))
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	return func(n int) fault {
		if hit := random.Float64() < share; n > 1 && !hit {
			return passOn
		}
		return how
	}
}

// loseAnswers makes two writers call write rounds times for each way of losing
// the statements that hit picks, both with and without a deadline. The writers
// use the value that open returns for the proxy's URL.
func loseAnswers[T any](
	t *testing.T, c *cluster, hit func(string) bool, rounds int,
	open func(t testing.TB, url string) T, write func(ctx context.Context, with T, name string, i int),
) {
	t.Helper()
	var all sync.WaitGroup
	var proxies []*proxy
	for _, how := range allFaults {
		for _, deadline := range []bool{false, true} {
			p := proxyTo(t, c.primary.address())
			proxies = append(proxies, p)
			with := open(t, c.primary.urlVia(p.address()))
			p.lose(hit, sometimes(how, 0.5))
			for writer := range 2 {
				all.Go(func() {
					for i := range rounds {
						ctx, cancel := t.Context(), context.CancelFunc(func() {})
						if deadline {
							ctx, cancel = context.WithTimeout(ctx, callerWait)
						}
						write(ctx, with, fmt.Sprintf("%s %v %d %d", how, deadline, writer, i), i)
						cancel()
					}
				})
			}
		}
	}
	all.Wait()
	c.primary.waitForBackends(t)
	lost := 0
	for i, p := range proxies {
		if p.losses() == 0 {
			t.Errorf("%q never happened", allFaults[i/2])
		}
		lost += p.losses()
	}
	t.Logf("%d accidents", lost)
}

// TestLostCommit loses COMMITs in every possible way. A write that was reported
// as stored must be stored once. A write that was reported as failed must not be
// stored.
func TestLostCommit(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	loseAnswers(t, c, isCommit, times(3, 25), open,
		func(ctx context.Context, q *db.Queries, name string, i int) { l.write(ctx, q.InTx, name, i%2 == 1) })
	b := l.check(t, c.primary)
	t.Logf("%v%s", b, l.failures())
	if b.acknowledged == 0 {
		t.Error("nothing was acknowledged: the test shows nothing")
	}
	if b.unknown > b.acknowledged/4 {
		t.Errorf("%d outcomes are unknown of %d: nearly all can be settled", b.unknown, len(l.entries))
	}
}

// TestLostOnce is TestLostCommit with a statement that is sent together with the
// COMMIT: the answer for an idempotency key. Either both it and the entry are
// stored, or neither.
func TestLostOnce(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	loseAnswers(t, c, isCommit, times(3, 25), open, func(ctx context.Context, q *db.Queries, name string, i int) {
		once := func(ctx context.Context, fn func(*db.Queries) error) error {
			_, _, err := store.New(q).Once(ctx, store.Keyed{Key: name, Hash: []byte(name)},
				func(q *db.Queries) ([]byte, error) { return []byte("[]"), fn(q) })
			return err
		}
		l.write(ctx, once, name, i%2 == 1)
	})
	b := l.check(t, c.primary)
	t.Logf("%v%s", b, l.failures())
	if b.acknowledged == 0 {
		t.Error("nothing was acknowledged: the test shows nothing")
	}
	stored := ask[int](t, c.primary, "SELECT count(DISTINCT replace(title, ' first', '')) FROM posts")
	if keys := ask[int](t, c.primary, "SELECT count(*) FROM idempotency_keys WHERE response IS NOT NULL"); keys != stored {
		t.Errorf("%d keys have their answer, and there are %d entries", keys, stored)
	}
}

// TestLostPipeline is TestLostCommit with everything in one round trip. If the
// answer to COMMIT is lost, so are the rows, and they must be read back.
func TestLostPipeline(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	loseAnswers(t, c, isCommit, times(3, 25), open,
		func(ctx context.Context, q *db.Queries, name string, i int) { l.writePiped(ctx, q, name, i%2 == 1) })
	b := l.check(t, c.primary)
	t.Logf("%v, %d read back%s", b, l.readBacks.Load(), l.failures())
	if b.acknowledged == 0 || l.readBacks.Load() == 0 {
		t.Error("nothing was acknowledged, or nothing read back: the test shows nothing")
	}
	if b.unknown > b.acknowledged/4 {
		t.Errorf("%d outcomes are unknown of %d: nearly all can be settled", b.unknown, len(l.entries))
	}
}

// TestLatePipeline delays a pipeline in the network, including its COMMIT, until
// its caller has got a result.
func TestLatePipeline(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	oops := errors.New("oops")
	for _, way := range []struct {
		name   string
		again  func(run int, arrive func()) error // the function's result in each run
		bar    fault                              // the fault of the marker that bars the pipeline
		want   error
		stored int
	}{
		{"RunsAgain", func(int, func()) error { return nil }, passOn, nil, 1},
		{"FailsThen", func(run int, _ func()) error {
			if run > 1 {
				return oops
			}
			return nil
		}, passOn, oops, 0},
		{"GivesWayThen", func(run int, _ func()) error {
			if run == 2 {
				return &postgres.Error{Kind: postgres.ErrSerialization, Err: oops}
			}
			return nil
		}, passOn, nil, 1},
		// The pipeline arrives while the second run holds the marker, and commits
		// after that run has failed. The marker that bars it comes too late.
		{"ArrivesThen", func(run int, arrive func()) error {
			if run == 2 {
				arrive()
				return oops
			}
			return nil
		}, passOn, nil, 1},
		// The pipeline is barred, and the answer to that is lost.
		{"BarLost", func(run int, _ func()) error {
			if run > 1 {
				return oops
			}
			return nil
		}, dropAnswer, postgres.ErrCommitUnknown, 0},
	} {
		p := proxyTo(t, c.primary.address())
		p.release, p.arrived = make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(p.release) })
		q := open(t, c.primary.urlVia(p.address()))
		// The first is the pipeline with its marker and COMMIT, the second is the
		// marker of the second run, and the third is the marker that bars the
		// pipeline, or the COMMIT.
		isMarker := isNamed("CreateCommitMarker")
		p.lose(func(sql string) bool { return isCommit(sql) || isMarker(sql) }, func(n int) fault {
			switch n {
			case 1:
				return late
			case 3:
				if way.name == "ArrivesThen" {
					<-p.arrived // so that it certainly comes too late
				}
				return way.bar
			}
			return passOn
		})
		arrive := func() {
			release()
			const waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
			eventually(t, startLimit, "the pipeline waits for the marker of the second run", func() bool {
				return ask[int](t, c.primary, waiting) == 1
			})
		}
		readBacks := 0
		readBack := func(tx postgres.DBTX) error {
			readBacks++
			var n int
			return tx.QueryRow(t.Context(), "SELECT 1 FROM posts WHERE title = $1", way.name).Scan(&n)
		}
		runs := 0
		err := q.Pipeline(t.Context(), postgres.TxOptions{ReadBack: readBack},
			func(b *postgres.Batch) error {
				runs++
				if err := way.again(runs, arrive); err != nil {
					return err
				}
				q.QueueCreatePost(b, db.CreatePostParams{UserID: l.owner, Title: way.name, Tags: []string{}})
				return nil
			})
		if !errors.Is(err, way.want) || runs < 2 {
			t.Errorf("%s: err = %v after %d runs, want %v after more than one", way.name, err, runs, way.want)
		}
		if arrived := way.name == "ArrivesThen"; arrived != (readBacks > 0) {
			t.Errorf("%s: the stored rows were read back %d times", way.name, readBacks)
		}
		release()
		<-p.arrived
		if n := ask[int](t, c.primary, fmt.Sprintf("SELECT count(*) FROM posts WHERE title = '%s'", way.name)); n != way.stored {
			t.Errorf("%s: the caller got %v, but %d rows are stored after everything has arrived, want %d", way.name, err, n, way.stored)
		}
	}
}

// TestLateCommit delays a COMMIT in the network. The transaction would fail if
// it ran again. As long as the COMMIT can still arrive, its caller must not get
// an error that means that nothing is stored.
func TestLateCommit(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	p := proxyTo(t, c.primary.address())
	p.release, p.arrived = make(chan struct{}), make(chan struct{})
	q := open(t, c.primary.urlVia(p.address()))
	p.lose(isCommit, func(n int) fault {
		if n == 1 {
			return late
		}
		return passOn
	})
	ctx, cancel := context.WithTimeout(t.Context(), callerWait)
	defer cancel()
	runs := 0
	err := q.InTx(ctx, func(q *db.Queries) error {
		if runs++; runs > 1 {
			return errors.New("oops")
		}
		_, err := q.CreatePost(ctx, db.CreatePostParams{UserID: l.owner, Title: "late", Tags: []string{}})
		return err
	})
	if !errors.Is(err, postgres.ErrCommitUnknown) || runs != 1 {
		t.Errorf("err = %v after %d runs, want ErrCommitUnknown after one", err, runs)
	}
	close(p.release)
	<-p.arrived
	if n := ask[int](t, c.primary, "SELECT count(*) FROM posts WHERE title = 'late'"); n != 1 {
		t.Errorf("%d rows are stored when the COMMIT has arrived: the test shows nothing", n)
	}
}

func open(t testing.TB, url string) *db.Queries {
	_, q := connect(t, postgres.Config{URL: url, MaxConns: 8, MinConns: 1, QueryTimeout: commitWait})
	return q
}

// TestLostWrite loses the answers to writes outside of transactions. Their
// outcome cannot be resolved, so the caller must get ErrCommitUnknown. With a
// session the COMMIT is sent separately after the statement.
func TestLostWrite(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	loseAnswers(t, c, isNamed("CreatePost"), times(2, 25), open,
		func(ctx context.Context, q *db.Queries, name string, i int) {
			if i%2 == 1 {
				ctx, _ = postgres.WithSession(ctx)
			}
			l.writeAlone(ctx, q, name)
		})
	b := l.check(t, c.primary)
	t.Logf("%v%s", b, l.failures())
	if b.unknown == 0 || b.unknownStored == 0 {
		t.Error("no outcome is unknown: the test shows nothing")
	}
}

// retried returns the statements with @retry for CreatePost. CreatePost is not
// idempotent, so the rows show how often it ran.
func retried() []postgres.Statement {
	list := slices.Clone(patient)
	for i := range list {
		list[i].Retry = list[i].Name == "CreatePost"
	}
	return list
}

// TestLostIdempotentWrite loses the answers to a write with @retry. It must be
// repeated until there is an answer, and may be reported as failed only if no
// attempt may have been applied.
func TestLostIdempotentWrite(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	loseAnswers(t, c, isNamed("CreatePost"), times(2, 25),
		func(t testing.TB, url string) *db.Queries {
			_, q := connect(t, postgres.Config{URL: url, MaxConns: 8, MinConns: 1, QueryTimeout: commitWait, Statements: retried()})
			return q
		},
		func(ctx context.Context, q *db.Queries, name string, _ int) { l.writeAlone(ctx, q, name) })
	b := l.balance(t, c.primary)
	t.Logf("%v%s", b, l.failures())
	if len(b.lost) > 0 || len(b.ghosts) > 0 {
		t.Errorf("lost: %v; failed but stored: %v", b.lost, b.ghosts)
	}
	if len(b.doubled) == 0 {
		t.Error("nothing was repeated: the test shows nothing")
	}
	if b.unknown > b.acknowledged {
		t.Errorf("%d of %d are unknown: @retry repeats", b.unknown, len(l.entries))
	}
}

// TestDoubtStays loses one answer and then refuses all connections. The outcome
// must remain unknown, even if later failures are definite.
func TestDoubtStays(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	for _, way := range []struct {
		name       string
		hit        func(string) bool
		statements []postgres.Statement
		write      func(ctx context.Context, q *db.Queries, name string)
	}{
		{"Transaction", isCommit, patient, func(ctx context.Context, q *db.Queries, name string) { l.write(ctx, q.InTx, name, true) }},
		{"Pipeline", isCommit, patient, func(ctx context.Context, q *db.Queries, name string) { l.writePiped(ctx, q, name, true) }},
		{"Write", isNamed("CreatePost"), patient, l.writeAlone},
		{"IdempotentWrite", isNamed("CreatePost"), retried(), l.writeAlone},
	} {
		p := proxyTo(t, c.primary.address())
		_, q := connect(t, postgres.Config{URL: c.primary.urlVia(p.address()), MaxConns: 1, MinConns: 1, Statements: way.statements})
		p.lose(way.hit, func(int) fault { return dropAnswer })
		p.afterLoss = func() { p.listener.Close() }
		ctx, cancel := context.WithTimeout(t.Context(), commitWait)
		way.write(ctx, q, way.name)
		cancel()
	}
	b := l.check(t, c.primary)
	t.Logf("%v%s", b, l.failures())
	if b.unknown != 4 || b.unknownStored != 4 {
		t.Errorf("%d outcomes are unknown, and %d of them stored: want all 4", b.unknown, b.unknownStored)
	}
}

// TestLostCommitNaive is the control. It repeats a transaction if its connection
// breaks.
func TestLostCommitNaive(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	l := newLedger(t, c.primary)
	loseAnswers(t, c, isCommit, times(2, 5),
		func(t testing.TB, url string) transactor {
			pool, err := pgxpool.New(t.Context(), url+"&pool_max_conns=8")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			return naive(pool)
		},
		func(ctx context.Context, inTx transactor, name string, i int) {
			// The naive way has no bound for a COMMIT that hangs.
			ctx, cancel := context.WithTimeout(ctx, commitWait)
			defer cancel()
			l.write(ctx, inTx, name, i%2 == 1)
		})
	b := l.balance(t, c.primary)
	t.Log(b)
	if len(b.doubled) == 0 {
		t.Error("nothing was stored twice: the test cannot fail")
	}
	if len(b.ghosts) == 0 {
		t.Error("no failure was stored: the test cannot fail")
	}
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// watchErrorPause is the pause after the server answered a check with an error, because
	// the server logs each of them.
	watchErrorPause = time.Second

	// receiverGap bounds the time between the last check that saw a replica receive from the
	// primary and the check that finds its receiver gone. If the time is shorter, all WAL that
	// was received still counts as the primary's. One attempt to connect for the next check may
	// take this long. The result is wrong only if, between two checks, the replica is
	// redirected to another primary and that primary dies.
	receiverGap = 5 * time.Second

	// problemPatience is how long a replica may be unused before the log says why. A
	// restart of the primary makes all replicas unusable for a moment.
	problemPatience = 2 * time.Second
)

// watchPrimary tracks the primary's history, and its positions over the last maxLag. It writes
// the primary's row, and increments its beat while something else is written. The position of
// an idle primary does not change, so replicas do not appear to lag.
func (rs *replicas) watchPrimary(ctx context.Context) {
	w := primaryWatch{replicas: rs}
	var wait time.Duration // no wait before the first check, because no replica is used until the row is written
	for pause(ctx, wait) {
		wait = primaryPoll
		look, cancel := context.WithTimeout(ctx, time.Second)
		err := w.look(look)
		cancel()
		if answeredError(err) {
			wait = watchErrorPause
		}
		if ctx.Err() == nil {
			w.logError(err)
		}
	}
}

// answeredError reports whether a working server answered a check with an error.
func answeredError(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && kindOf(e) != ErrUnavailable
}

// primaryWatch is the result of the last checks of the primary.
type primaryWatch struct {
	*replicas
	row    history
	beat   int64
	next   int64        // next transaction ID, when the beat was first seen
	beats  []beatSample // over beatPatience, oldest first
	logged string       // the error that was logged last
}

type beatSample struct {
	at   time.Duration // since start
	beat int64
}

// look checks the primary once and writes the row or beat that is due.
func (w *primaryWatch) look(ctx context.Context) error {
	conn, err := w.primary.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	asked := time.Since(w.start)
	l, err := w.sql.lookAtPrimaryOn(ctx, conn)
	if err != nil {
		return err
	}
	w.histories.reportedByServer(l.history)
	if now, _ := w.histories.current(); now.history != l.history {
		return nil // it is an outdated primary, so its answer does not count
	}
	w.remember(asked, l)
	w.histories.ended.Store(&ended{l.history, uint64(l.oldest)})
	switch {
	case l.shown && l.next == w.next:
		return nil
	case !l.writable:
		return w.sql.historyPrivilege(conn.Conn().Config().User)
	case !l.shown:
		return writeHistory(ctx, conn, w.sql.create, nil)
	}
	var beat int64
	asked = time.Since(w.start)
	err = writeHistory(ctx, conn, w.sql.beat, &beat)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // another process was faster
	}
	if err == nil {
		w.beats = append(w.beats, beatSample{asked, beat})
	}
	return err
}

// remember stores the samples that replicas are measured against.
func (w *primaryWatch) remember(asked time.Duration, l primaryLook) {
	fresh := w.row != l.history
	if fresh {
		w.row, w.beats = l.history, nil
	}
	if fresh || l.beat != w.beat {
		// Writing a beat uses a transaction ID, too. If the counter moves after it, another
		// client has written.
		w.beat, w.next = l.beat, l.next
	}
	w.beats = append(w.beats, beatSample{asked, l.beat})
	for len(w.beats) > 1 && asked-w.beats[1].at >= beatPatience {
		w.beats = slices.Delete(w.beats, 0, 1)
	}
	// Beats age by the primary's answers, not by the clock. While the primary is down,
	// replicas that had its last beats are still used.
	if asked-w.beats[0].at >= beatPatience {
		w.histories.expect(l.history, w.beats[0].beat)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != l.history {
		w.current, w.written = l.history, nil
	}
	w.written = append(w.written, sample{asked, l.at})
	// Keep the newest sample older than the limit, because replicas must have passed it.
	for len(w.written) > 1 && asked-w.written[1].at >= w.maxLag {
		w.written = slices.Delete(w.written, 0, 1)
	}
}

// logError logs an error that the server returned or that we found, once per text. An
// unreachable primary is logged elsewhere.
func (w *primaryWatch) logError(err error) {
	if err == nil {
		w.logged = ""
	}
	if !answeredError(err) && !errors.Is(err, errHistoryPrivilege) {
		return
	}
	if text := oneLine(err); text != w.logged {
		w.logged = text
		w.observer.logger.Warn("the primary cannot keep its row in "+w.sql.table, "error", text)
	}
}

// replicaLook is a replica's answer to a check.
type replicaLook struct {
	standby        bool
	own            history // of the server itself; the timeline is 0 on a standby
	replayed       lsn
	received       lsn
	receiver       int32 // process ID; 0 if there is none
	timeline       int32 // the timeline it receives; 0 unless the role may see it
	maySeeTimeline bool  // the role may see that timeline
	row            history
	beat           int64
}

// verdict is the result of one check of a replica. It is replaced as a whole.
type verdict struct {
	looked  time.Duration // since start
	server  int64         // start time of the server that answered, in microseconds
	row     history       // the newest that the replica shows
	at      point         // replayed so far; its history is zero unless it is certain
	beat    int64
	primary history // its own, if it is not a standby
}

// follower checks one replica through one connection.
type follower struct {
	*replicas
	replica *replica
	conn    *pgx.Conn
}

// evidence is proven knowledge about a replica. Only its watcher uses it. It is kept when
// the connection breaks, because nothing can be proven again while the primary is down.
type evidence struct {
	server  int64 // start time of the server that it applies to
	proof   proof // the last one
	ceiling point // position up to which everything certainly came from the primary

	asked proof         // the proof for which the last beat was written
	beat  int64         // that beat
	retry time.Duration // when writing a beat may be tried again, since start

	receiving bool          // at the previous check
	received  time.Duration // when it was last seen receiving, since start
}

// reset discards all evidence about the source of the replica's log.
func (s *evidence) reset() { s.proof, s.ceiling, s.receiving = proof{}, point{}, false }

// proof means that a beat written for this purpose came through the replica's WAL receiver.
// So the replica follows the primary and is not a copy of it.
type proof struct {
	history
	receiver int32 // process ID; 0 if it is not needed, because the role may see which timeline is received
}

// watchReplica keeps the verdict on a replica up to date. It uses a separate connection, so
// that a busy pool does not make the replica appear down.
func (rs *replicas) watchReplica(ctx context.Context, r *replica) {
	for ctx.Err() == nil {
		err := rs.follow(ctx, r)
		r.markDown()
		wait := replicaRetry
		if answeredError(err) || errors.Is(err, errOtherCluster) {
			wait = watchErrorPause
		}
		r.noteProblem(rs, oneLine(withoutConfig(err)))
		pause(ctx, wait)
	}
}

// errOtherCluster: a replica does not belong to the primary's cluster.
var errOtherCluster = errors.New("its system identifier differs from the primary's, so it belongs to another cluster: " +
	"correct DATABASE_REPLICA_URLS or REPLICA_DISCOVERY")

// follow checks the replica until it does not answer.
func (rs *replicas) follow(ctx context.Context, r *replica) error {
	connecting, cancel := context.WithTimeout(ctx, receiverGap)
	pooled, err := r.pool.Acquire(connecting)
	cancel()
	if err != nil {
		return err
	}
	f := &follower{replicas: rs, replica: r, conn: pooled.Hijack()}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		f.conn.Close(closing)
	}()
	for {
		wait, err := f.look(ctx)
		if err != nil {
			return err
		}
		r.markUp()
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// look checks the replica once, and returns the pause before the next check.
func (f *follower) look(ctx context.Context) (time.Duration, error) {
	if theirs, ours := serverOf(f.conn.PgConn()).system, f.histories.system.Load(); theirs != 0 && ours != 0 && theirs != ours {
		return 0, errOtherCluster
	}
	bounded, cancel := context.WithTimeout(ctx, replicaSilence)
	defer cancel()
	asked := time.Since(f.start)
	l, err := f.sql.lookAtReplicaOn(bounded, f.conn)
	if err != nil {
		return 0, err
	}
	now, _ := f.histories.current()
	v := &verdict{looked: asked, server: l.own.started, row: l.row, beat: l.beat}
	if max(l.row.timeline, l.own.timeline) > now.timeline && now.timeline > 0 {
		f.onHigherTimeline()
	}
	wait := replicaPoll
	switch {
	case !l.standby:
		v.primary = l.own
		wait = replicaRetry
	case f.certain(ctx, asked, l, now):
		v.at = point{l.row, l.replayed}
	}
	f.replica.last.Store(v)
	f.reportProblem(l, v, now)
	return wait, nil
}

// certain reports whether the position of a check belongs to the history that the replica
// shows, which must be the current one.
//
// A replica can follow another primary while the old one is still alive. It then shows the old
// one's row until it has replayed the new one's. The timeline that the WAL receiver receives is
// exact, but only a role with pg_read_all_stats may see it. Other roles see the receiver's
// process ID. A standby that is redirected to another server gets another receiver, which needs
// a separate proof. A standby downstream of such a standby keeps its receiver. The redirection
// is then detected by missing beats. Without a receiver, nothing new arrives, and the replica's
// history is certain up to the position that the primary certainly sent. This includes the last
// bytes, received after the previous check.
func (f *follower) certain(ctx context.Context, asked time.Duration, l replicaLook, now era) bool {
	known := &f.replica.evidence
	if l.row != now.history || l.own.started != known.server {
		*known = evidence{server: l.own.started}
	}
	if l.row != now.history {
		return false
	}
	if l.receiver == 0 {
		if known.receiving && asked-known.received <= receiverGap {
			known.ceiling.at = max(known.ceiling.at, l.received)
		}
		known.receiving = false
		return known.ceiling.history == l.row && l.replayed <= known.ceiling.at
	}
	if l.maySeeTimeline && l.timeline != int32(now.timeline) {
		known.reset()
		known.asked = proof{}
		return false
	}
	wanted := proof{l.row, l.receiver}
	if l.maySeeTimeline {
		wanted.receiver = 0
	}
	if known.proof != wanted {
		known.reset()
		if known.asked != wanted {
			f.askForProof(ctx, wanted)
			return false
		}
		if l.beat < known.beat {
			return false
		}
		known.proof = wanted
	}
	known.ceiling = point{l.row, max(l.replayed, l.received)}
	known.receiving, known.received = true, asked
	return true
}

// askForProof makes the primary write a beat. The proof is complete if the replica shows
// that beat while nothing else about it has changed.
func (f *follower) askForProof(ctx context.Context, wanted proof) {
	known := &f.replica.evidence
	if time.Since(f.start) < known.retry {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beatPatience)
	defer cancel()
	conn, err := f.primary.Acquire(ctx)
	if err == nil {
		err = writeHistory(ctx, conn, f.sql.forceBeat, &known.beat)
		conn.Release()
	}
	if err != nil {
		known.retry = time.Since(f.start) + primaryPoll
		return
	}
	known.asked = wanted
}

// reportProblem logs why the replica is not used, if that has lasted for some time.
func (f *follower) reportProblem(l replicaLook, v *verdict, now era) {
	problem := l.problem(now.history)
	switch {
	case now.timeline == 0:
		problem = "the primary's history is not known yet"
	case problem != "", v.primary == now.history:
	case v.at.history != now.history:
		problem = "it has not shown yet that it follows the primary"
	case v.beat < now.beat:
		problem = "the primary's last beat has not arrived: the replica lags, or follows another server"
	}
	f.replica.noteProblem(f.replicas, problem)
}

// problem returns why a server is not a replica of the primary with the given history, as
// far as one check shows. It is empty for the primary itself, which may be listed like all
// other nodes, and becomes a replica after a failover.
func (l replicaLook) problem(primary history) string {
	switch {
	case !l.standby && l.own == primary:
		return ""
	case !l.standby:
		return fmt.Sprintf("it is not a standby: it has its own history, timeline %d: "+
			"make it a standby of the primary, or remove it from DATABASE_REPLICA_URLS", l.own.timeline)
	case l.row.timeline == 0:
		return "it shows no row of server_histories: it lags far behind, or belongs to another cluster"
	case l.row != primary:
		return fmt.Sprintf("the last primary that it followed is another one, on timeline %d and started %s, "+
			"where the primary is on timeline %d and was started %s: point it at the primary, or rewind it (pg_rewind)",
			l.row.timeline, l.row.startedAt().Format(time.RFC3339), primary.timeline, primary.startedAt().Format(time.RFC3339))
	case l.receiver == 0:
		return "it receives nothing, because its WAL receiver is not running: check its primary_conninfo and its log"
	case l.maySeeTimeline && l.timeline != int32(primary.timeline):
		return fmt.Sprintf("it receives timeline %d, and the primary is on timeline %d: point it at the primary", l.timeline, primary.timeline)
	}
	return ""
}

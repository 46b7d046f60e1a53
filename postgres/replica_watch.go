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
	// watchErrorPause is the pause after a look that the server refused with an
	// error: it logs each of them.
	watchErrorPause = time.Second

	// receiverGap is how long after a look that saw a replica receive from the
	// primary its receiver may be found gone, and all that it had received still
	// count: as long as one attempt to connect for another look may take. To be
	// wrong, the replica would have to be turned to another primary, and that one
	// to die, between two looks.
	receiverGap = 5 * time.Second

	// problemPatience is how long a replica may be unused before the log says
	// why. A restart of the primary puts all of them out for a moment.
	problemPatience = 2 * time.Second
)

// watchPrimary keeps which history the primary has and where it was over the
// time that a replica may lag. It writes the primary's row, and its beat while
// something is written. An idle primary stays where it is, so that no replica
// seems late because nothing happens.
func (rs *replicas) watchPrimary(ctx context.Context) {
	w := primaryWatch{replicas: rs}
	var wait time.Duration // none before the first look: until the row is written, no replica is used
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

// answeredError reports whether a server that works answered a look with an error.
func answeredError(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && kindOf(e) != ErrUnavailable
}

// primaryWatch is what the last looks at the primary saw.
type primaryWatch struct {
	*replicas
	row    history
	beat   int64
	next   int64        // transaction, when the beat was seen first
	beats  []beatSample // over beatPatience, oldest first
	logged string       // the error that was logged last
}

type beatSample struct {
	at   time.Duration // since start
	beat int64
}

// look asks the primary once and has it write what is due.
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
		return nil // it is behind: nothing that it says counts
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

// remember keeps the samples against which replicas are measured.
func (w *primaryWatch) remember(asked time.Duration, l primaryLook) {
	fresh := w.row != l.history
	if fresh {
		w.row, w.beats = l.history, nil
	}
	if fresh || l.beat != w.beat {
		// A beat is written too: what moves the counter after it is somebody's write.
		w.beat, w.next = l.beat, l.next
	}
	w.beats = append(w.beats, beatSample{asked, l.beat})
	for len(w.beats) > 1 && asked-w.beats[1].at >= beatPatience {
		w.beats = slices.Delete(w.beats, 0, 1)
	}
	// Beats are aged by the primary's answers and not by the clock: while it is
	// down, replicas that had its last beats go on.
	if asked-w.beats[0].at >= beatPatience {
		w.histories.expect(l.history, w.beats[0].beat)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != l.history {
		w.current, w.written = l.history, nil
	}
	w.written = append(w.written, sample{asked, l.at})
	// The newest sample that is older than the limit is the one to be past.
	for len(w.written) > 1 && asked-w.written[1].at >= w.maxLag {
		w.written = slices.Delete(w.written, 0, 1)
	}
}

// logError logs an error of the looks that a server gave or that we found, once for
// each. That the primary cannot be reached is said elsewhere.
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

// replicaLook is what a replica answered.
type replicaLook struct {
	standby        bool
	own            history // of its run: the timeline is 0 on a standby
	replayed       lsn
	received       lsn
	receiver       int32 // process, 0 when there is none
	timeline       int32 // that it receives; 0 unless the role may know
	maySeeTimeline bool  // the role may know
	row            history
	beat           int64
}

// verdict is what one look at a replica came to. It is replaced as a whole.
type verdict struct {
	looked  time.Duration // when, since start
	server  int64         // when the server that answered was started, in microseconds
	row     history       // the newest that it shows
	at      point         // replayed so far; its history is zero unless it is certain
	beat    int64
	primary history // its own, when it is no standby
}

// follower looks at one replica over one connection.
type follower struct {
	*replicas
	replica *replica
	conn    *pgx.Conn
}

// evidence is what is certain of a replica. Only its watcher uses it, and keeps
// it when the connection breaks: while the primary is down nothing can be proven
// anew.
type evidence struct {
	server  int64 // the server that it is certain of: when it was started
	proof   proof // the last that was given
	ceiling point // received from the primary for certain

	asked proof         // that a beat was written for
	beat  int64         // which one
	retry time.Duration // when it may be tried again to write one, since start

	receiving bool          // at the look before
	received  time.Duration // when it was seen to receive last, since start
}

// reset takes back what was certain of what the replica receives.
func (s *evidence) reset() { s.proof, s.ceiling, s.receiving = proof{}, point{}, false }

// proof says that a beat, which was written for it, came through the replica's
// WAL receiver: the replica follows the primary, and is no copy of it.
type proof struct {
	history
	receiver int32 // process, 0 for a role that may know which timeline it receives
}

// watchReplica keeps the verdict on a replica. It looks through a connection
// of its own, so that a busy pool does not make a replica seem gone.
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

// errOtherCluster says that a replica is none of this primary's.
var errOtherCluster = errors.New("its system identifier is not the primary's, so it is a server of another cluster: " +
	"correct DATABASE_REPLICA_URLS")

// follow looks at the replica until it does not answer.
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

// look asks once, and returns the pause before the next time.
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

// certain reports whether the position of a look is one of the history that
// the replica shows, which must be the current one.
//
// A replica can follow another primary while the old one lives, and goes on
// showing the old one's row until the new one's is replayed. The timeline that
// the WAL receiver receives is exact, but only a role with pg_read_all_stats may
// know it. Others see its process: a standby that is pointed at another server
// gets another receiver, which needs a proof of its own. (A standby below such a
// standby keeps its receiver: it is noticed when beats stay out.) Without a
// receiver nothing new comes, and up to where the primary had sent for certain
// the replica is its own. That includes the last bytes, which came after the look
// before.
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

// askForProof has the primary write a beat, which the replica must show while
// nothing else about it changes.
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

// reportProblem logs why the replica is not used, once it is not for some time.
func (f *follower) reportProblem(l replicaLook, v *verdict, now era) {
	problem := l.problem(now.history)
	switch {
	case now.timeline == 0:
		problem = "the primary's history is not known yet"
	case problem != "", v.primary == now.history:
	case v.at.history != now.history:
		problem = "it has not shown yet that it follows the primary"
	case v.beat < now.beat:
		problem = "the primary's last beat has not come: it is behind, or follows another server"
	}
	f.replica.noteProblem(f.replicas, problem)
}

// problem is why a server is no replica of the primary with the given history,
// as far as one look shows. It is empty for the primary itself, which may be
// listed like every other node: it becomes a replica when it is one.
func (l replicaLook) problem(primary history) string {
	switch {
	case !l.standby && l.own == primary:
		return ""
	case !l.standby:
		return fmt.Sprintf("it is no standby: it has a history of its own, timeline %d: "+
			"make it a standby of the primary, or remove it from DATABASE_REPLICA_URLS", l.own.timeline)
	case l.row.timeline == 0:
		return "it shows no row of server_histories: it is far behind, or a server of another cluster"
	case l.row != primary:
		return fmt.Sprintf("the last primary that it followed is another one, on timeline %d and started %s, "+
			"where the primary is on timeline %d and was started %s: point it at the primary, or rewind it (pg_rewind)",
			l.row.timeline, l.row.startedAt().Format(time.RFC3339), primary.timeline, primary.startedAt().Format(time.RFC3339))
	case l.receiver == 0:
		return "it receives nothing, because its WAL receiver does not run: look at its primary_conninfo and its log"
	case l.maySeeTimeline && l.timeline != int32(primary.timeline):
		return fmt.Sprintf("it receives timeline %d, and the primary is on timeline %d: point it at the primary", l.timeline, primary.timeline)
	}
	return ""
}

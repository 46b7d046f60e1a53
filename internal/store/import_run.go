package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"quern/internal/db"
	"quern/internal/memory"
	"quern/internal/rowfile"
	"quern/postgres"
)

const (
	// importAttempts is how often a chunk is retried because its ids were taken between the
	// check and the insert.
	importAttempts = 3

	// checkpointSweep is the most expired checkpoints that an import removes.
	checkpointSweep = 10_000
)

// importRun is a running import.
type importRun[R any] struct {
	subject      subject[R]
	opts         ImportOptions
	res          ImportResult
	id           []byte // identifies the import; nil if there are no rows
	options      string // options of the import, as a text
	began        bool   // whether this run has stored a chunk
	reportedLine int64  // the last line whose reject was reported
	limits       *importLimits
	wide         bool // it may have a long record in memory
}

func runImport[R any](ctx context.Context, s *Store, of subject[R], r io.Reader, o ImportOptions) (ImportResult, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return ImportResult{}, err
	}
	run := &importRun[R]{subject: of, opts: o, limits: s.limits}
	var again func() io.Reader
	if o.Strict {
		var free func()
		var err error
		if again, free, err = rewindable(ctx, r, &s.limits.spool); err != nil {
			return run.res, err
		}
		defer free()
	}
	if err := run.limits.enter(ctx, run.limits.runs); err != nil {
		return run.res, err
	}
	defer run.limits.leave()
	if o.Strict {
		return run.strict(ctx, s, again)
	}
	if err := run.pass(ctx, s, r); err != nil {
		return run.res, err
	}
	// A file with only rejected rows is usually the wrong file.
	if rejected := run.res.Rejected + run.res.ResumedRejected; rejected > 0 && rejected == run.res.Rows {
		return run.res, fmt.Errorf("%d of %d %w", rejected, run.res.Rows, ErrRejected)
	}
	return run.res, nil
}

// strict imports all rows in one transaction, or nothing.
func (run *importRun[R]) strict(ctx context.Context, s *Store, again func() io.Reader) (ImportResult, error) {
	attempt := func() error {
		return s.InTx(ctx, func(q *db.Queries) error {
			run.res, run.id, run.began = ImportResult{}, nil, false
			if err := run.pass(ctx, New(q), again()); err != nil {
				return err
			}
			if run.res.Rejected > 0 {
				return fmt.Errorf("%d of %d %w", run.res.Rejected, run.res.Rows, ErrRejected)
			}
			return nil
		})
	}
	err := attempt()
	if errors.Is(err, errWide) {
		if err = run.limits.enter(ctx, run.limits.wide); err == nil {
			defer run.limits.leaveWide()
			run.wide = true
			err = attempt()
		}
	}
	if err != nil {
		// Nothing was stored.
		run.res = ImportResult{Rows: run.res.Rows, Rejected: run.res.Rejected, Line: run.res.Line}
	}
	return run.res, err
}

// pass imports r from start to end. While one chunk is stored, the next one is read, unless
// one of them has a long record.
func (run *importRun[R]) pass(ctx context.Context, s *Store, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &importPipe[R]{
		opened: make(chan *chunker[R]), known: make(chan []int64),
		full: make(chan *chunk[R]), empty: make(chan *chunk[R], 2),
	}
	p.empty <- &chunk[R]{}
	p.empty <- &chunk[R]{}
	room := &wideRoom{limits: run.limits, given: run.wide, strict: run.opts.Strict, ctx: ctx}
	defer room.close()
	defer cancel()
	go run.read(ctx, r, room, p)
	var c *chunker[R]
	for {
		select {
		case <-ctx.Done():
			return run.at(context.Cause(ctx))
		case c = <-p.opened:
			ends, err := run.recall(ctx, s, c)
			p.known <- ends
			if err != nil {
				return err
			}
		case chunk, more := <-p.full:
			if !more {
				// If the context was cancelled, the reading has stopped too.
				return run.at(cmp.Or(p.failed, context.Cause(ctx)))
			}
			if err := run.store(ctx, s, c.d, chunk); err != nil {
				return run.at(err)
			}
			if chunk.last {
				return run.at(c.d.Trailing())
			}
			memory.Spent(chunk.garbage())
			chunk.reset()
			p.empty <- chunk
		}
	}
}

// importPipe connects the reading of an import with the storing.
type importPipe[R any] struct {
	opened chan *chunker[R]
	known  chan []int64
	full   chan *chunk[R] // closed at the end of the reading
	empty  chan *chunk[R]
	failed error // the error that ended the reading; valid when full is closed
}

// read reads the chunks of an import until ctx is cancelled.
func (run *importRun[R]) read(ctx context.Context, r io.Reader, room *wideRoom, p *importPipe[R]) {
	defer close(p.full)
	c, err := run.start(r, room)
	if err != nil {
		p.failed = err
		return
	}
	select {
	case p.opened <- c:
		c.ends = <-p.known
	case <-ctx.Done():
		return
	}
	for last := false; !last; {
		into, ok := receive(ctx, p.empty)
		if !ok {
			return
		}
		if p.failed = c.read(into); p.failed != nil {
			return
		}
		last = into.last
		select {
		case p.full <- into:
		case <-ctx.Done():
			return
		}
		if !room.wide || last {
			continue
		}
		// Both chunks are empty once the one with the long record is stored.
		one, ok := receive(ctx, p.empty)
		if !ok {
			return
		}
		other, ok := receive(ctx, p.empty)
		if !ok {
			return
		}
		if c.shrink(one, other) {
			room.done()
		}
		p.empty <- one
		p.empty <- other
	}
}

func receive[T any](ctx context.Context, from <-chan T) (v T, ok bool) {
	select {
	case v = <-from:
		return v, true
	case <-ctx.Done():
		return v, false
	}
}

// at adds the position of the import to err.
func (run *importRun[R]) at(err error) error {
	if err == nil || run.res.Line == 0 {
		return err
	}
	return fmt.Errorf("after line %d: %w", run.res.Line, err)
}

// start opens the input.
func (run *importRun[R]) start(r io.Reader, room *wideRoom) (*chunker[R], error) {
	return newChunker(run.subject, r, run.opts, room.need)
}

// recall returns the ends of the chunks that earlier runs of the import have stored with
// the same options.
func (run *importRun[R]) recall(ctx context.Context, s *Store, c *chunker[R]) (ends []int64, err error) {
	run.id, run.options = c.id, c.options
	if run.id == nil {
		return nil, nil
	}
	if err := s.q.ForgetExpiredImport(ctx, run.id); err != nil {
		return nil, err
	}
	known, err := s.q.GetImport(ctx, run.id)
	switch {
	case err != nil:
		return nil, err
	case len(known.Ends) == 0 || known.Options == run.options:
		return known.Ends, nil
	case known.Stored > 0:
		return nil, fmt.Errorf("%w, with other options (%s) than now (%s)", beganAlike(known), known.Options, run.options)
	}
	return nil, s.q.DeleteImportCheckpointsFrom(ctx, db.DeleteImportCheckpointsFromParams{Import: run.id})
}

// store stores a chunk, unless an earlier run has stored it.
func (run *importRun[R]) store(ctx context.Context, s *Store, d *rowfile.Reader, c *chunk[R]) (err error) {
	if run.id == nil {
		run.res.Line = c.line
		return nil
	}
	var done outcome
	var earlier *db.GetImportCheckpointRow
	for attempt := 1; ; attempt++ {
		err = s.InTx(ctx, func(q *db.Queries) error {
			done, earlier, err = run.storeOnce(ctx, q, c)
			return err
		})
		if attempt == importAttempts || !idTaken(err) {
			break
		}
	}
	if err != nil && !errors.Is(err, ErrTooManyRejects) {
		return err
	}
	faults := append(done.faults, c.faults...)
	res := run.after(c, done, faults, earlier)
	if failed := run.reportRejects(d, c, faults); failed != nil {
		return errors.Join(err, failed)
	}
	if err != nil {
		// The chunk was not stored.
		return err
	}
	run.began = run.began || earlier == nil
	run.res = res
	run.opts.Progress(res)
	return nil
}

// idTaken reports whether an id was taken since it was found to be free.
func idTaken(err error) bool {
	var e *postgres.Error
	return errors.As(err, &e) && e.Kind == postgres.ErrUnique && (e.Constraint == "users_pkey" || e.Constraint == "posts_pkey")
}

// after returns the result after a chunk. Rows of an earlier run count as resumed only.
func (run *importRun[R]) after(c *chunk[R], done outcome, faults []fault, earlier *db.GetImportCheckpointRow) ImportResult {
	res := run.res
	n := int64(len(c.records))
	res.Rows += n
	res.Line = c.line
	if earlier != nil {
		res.Resumed += n
		res.ResumedAt = earlier.CreatedAt
		res.ResumedRejected += int64(len(faults))
		return res
	}
	all := done.plus(c.counts)
	res.Inserted += all.inserted
	res.Updated += all.updated
	res.Unchanged += all.unchanged
	res.Skipped += all.skipped
	res.Rejected += int64(len(faults))
	return res
}

// storeOnce stores a chunk and its checkpoint in the transaction of q. If the checkpoint
// exists already, it returns that one's outcome.
func (run *importRun[R]) storeOnce(ctx context.Context, q *db.Queries, c *chunk[R]) (
	out outcome, earlier *db.GetImportCheckpointRow, err error,
) {
	earlier, err = run.begin(ctx, q, c)
	switch {
	case err != nil:
	case earlier != nil:
		out, err = outcomeOf(earlier, c)
	default:
		out, err = run.subject.merge(ctx, q, c, run.opts.OnConflict)
	}
	if err != nil {
		return out, earlier, err
	}
	rejected := run.res.Rejected + run.res.ResumedRejected + int64(len(out.faults)+len(c.faults))
	if most := run.opts.MaxRejects; most != nil && rejected > *most {
		return out, earlier, fmt.Errorf("%d of %d rows are rejected, and at most %d may be: %w",
			rejected, run.res.Rows+int64(len(c.records)), *most, ErrTooManyRejects)
	}
	return out, earlier, run.end(ctx, q, c, out, earlier == nil)
}

// begin creates the checkpoint of a chunk, or returns the existing one. It returns an error
// if that belongs to another chunk.
func (run *importRun[R]) begin(ctx context.Context, q *db.Queries, c *chunk[R]) (*db.GetImportCheckpointRow, error) {
	create := db.CreateImportCheckpointParams{
		Import: run.id, FirstRow: run.res.Rows, Rows: int64(len(c.records)), Hash: slices.Clone(c.hash[:]), Options: run.options,
	}
	created, err := q.CreateImportCheckpoint(ctx, create)
	if err != nil || created > 0 {
		return nil, err
	}
	earlier, err := q.GetImportCheckpoint(ctx, db.GetImportCheckpointParams{Import: run.id, FirstRow: run.res.Rows})
	if err != nil || earlier.Rows == create.Rows && bytes.Equal(earlier.Hash, create.Hash) {
		return earlier, err
	}
	known, err := q.GetImport(ctx, run.id)
	if err != nil {
		return nil, err
	}
	if known.Stored > 0 {
		return nil, fmt.Errorf("%w, and this one differs between its rows %d and %d",
			beganAlike(known), run.res.Rows+1, run.res.Rows+max(earlier.Rows, create.Rows))
	}
	// Nothing is stored, so nothing can be stored twice.
	err = q.DeleteImportCheckpointsFrom(ctx, db.DeleteImportCheckpointsFromParams{Import: run.id, FirstRow: run.res.Rows})
	if err == nil {
		_, err = q.CreateImportCheckpoint(ctx, create)
	}
	return nil, err
}

// beganAlike returns the error that describes the stored rows of an import that this one
// cannot continue.
func beganAlike(known *db.GetImportRow) error {
	return fmt.Errorf("%d rows of %w", known.Stored, ErrBeganAlike)
}

// end sends the outcome of a chunk together with the COMMIT of its transaction.
func (run *importRun[R]) end(ctx context.Context, q *db.Queries, c *chunk[R], out outcome, stored bool) error {
	at := run.res.Rows
	prolong := stored && !run.began && at > 0
	// A strict import sends these with the next chunk, which reuses this chunk's buffers,
	// so they must not refer to those.
	last, settled := c.last, c.settled(out.faults)
	update := db.UpdateImportCheckpointParams{
		Inserted: out.inserted, Updated: out.updated, Unchanged: out.unchanged, Skipped: out.skipped,
		Rejects: out.marshalFaults(), Import: run.id, FirstRow: at,
	}
	return q.QueueWithCommit(ctx, func(b *postgres.Batch) error {
		switch {
		case !stored:
		case !settled:
			q.QueueDeleteImportCheckpointsFrom(b, db.DeleteImportCheckpointsFromParams{Import: run.id, FirstRow: at})
		default:
			q.QueueUpdateImportCheckpoint(b, update)
		}
		if prolong {
			q.QueueProlongImport(b, run.id)
		}
		if last {
			q.QueueFinishImport(b, run.id)
			q.QueueForgetIdleImport(b, run.id)
			q.QueueDeleteImportCheckpoints(b, checkpointSweep)
		}
		return nil
	})
}

// reportRejects reports the rejects of a chunk. Each is reported once, even if the
// transaction of a strict import is repeated.
func (run *importRun[R]) reportRejects(d *rowfile.Reader, c *chunk[R], faults []fault) error {
	for _, f := range sorted(faults) {
		at := c.records[f.record]
		if at.line <= run.reportedLine {
			continue
		}
		if err := run.opts.Rejected(d.Reject(at.line, c.text[at.from:at.to], f.field, f.reason)); err != nil {
			return err
		}
		run.reportedLine = at.line
	}
	return nil
}

// marshalFaults encodes the rows that the database rejected. Errors in the input are not
// stored, because they are found again by reading it.
func (o outcome) marshalFaults() []byte {
	list := make([][3]any, len(o.faults))
	for i, f := range o.faults {
		list[i] = [3]any{f.record, f.field, f.reason}
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // cannot fail for integers and strings
	}
	return b
}

// outcomeOf decodes the outcome in a checkpoint.
func outcomeOf[R any](row *db.GetImportCheckpointRow, c *chunk[R]) (out outcome, err error) {
	out.counts = counts{row.Inserted, row.Updated, row.Unchanged, row.Skipped}
	var list []faultJSON
	if err := json.Unmarshal(row.Rejects, &list); err != nil {
		return out, fmt.Errorf("read a checkpoint: %w", err)
	}
	for _, f := range list {
		if f.record < 0 || f.record >= len(c.records) {
			return out, fmt.Errorf("read a checkpoint: row %d of %d", f.record, len(c.records))
		}
		out.faults = append(out.faults, fault(f))
	}
	return out, nil
}

// faultJSON is a fault in a checkpoint.
type faultJSON fault

func (f *faultJSON) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[3]any{&f.record, &f.field, &f.reason})
}

// sorted sorts faults in the order of the input.
func sorted(faults []fault) []fault {
	slices.SortStableFunc(faults, func(a, b fault) int { return cmp.Compare(a.record, b.record) })
	return faults
}

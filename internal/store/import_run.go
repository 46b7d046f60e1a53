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
// exists already, it sets that one's outcome.
func (run *importRun[R]) storeOnce(ctx context.Context, q *db.Queries, t *turn[R]) (err error) {
	c := t.chunk
	t.begin()
	t.earlier, err = run.begin(ctx, q, t)
	switch {
	case err != nil:
	case t.earlier != nil:
		t.out, err = outcomeOf(t.earlier, c)
	default:
		t.out, err = run.subject.merge(ctx, q, c, run.opts.OnConflict, t.drew)
	}
	if err == nil {
		err = t.await(ctx, q)
	}
	if err != nil {
		return err
	}
	// From here on, all chunks before this one are stored and counted.
	rejected := run.res.Rejected + run.res.ResumedRejected + int64(len(t.out.faults)+len(c.faults))
	if most := run.opts.MaxRejects; most != nil && rejected > *most {
		return fmt.Errorf("%d of %d rows are rejected, and at most %d may be: %w",
			rejected, run.res.Rows+int64(len(c.records)), *most, ErrTooManyRejects)
	}
	return run.end(ctx, q, t)
}

// begin creates the checkpoint of a chunk, or returns the existing one. It returns an error
// if that belongs to another chunk.
func (run *importRun[R]) begin(ctx context.Context, q *db.Queries, t *turn[R]) (*db.GetImportCheckpointRow, error) {
	create := t.checkpoint
	created, err := q.CreateImportCheckpoint(ctx, create)
	if err != nil || created > 0 {
		return nil, err
	}
	earlier, err := q.GetImportCheckpoint(ctx, db.GetImportCheckpointParams{Import: run.id, FirstRow: create.FirstRow})
	if err != nil || earlier.Rows == create.Rows && bytes.Equal(earlier.Hash, create.Hash) {
		return earlier, err
	}
	known, err := q.GetImport(ctx, run.id)
	if err != nil {
		return nil, err
	}
	if known.Stored > 0 {
		return nil, fmt.Errorf("%w, and this one differs between its rows %d and %d",
			beganAlike(known), create.FirstRow+1, create.FirstRow+max(earlier.Rows, create.Rows))
	}
	// Nothing is stored, so nothing can be stored twice.
	err = q.DeleteImportCheckpointsFrom(ctx, db.DeleteImportCheckpointsFromParams{Import: run.id, FirstRow: create.FirstRow})
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
func (run *importRun[R]) end(ctx context.Context, q *db.Queries, t *turn[R]) error {
	at, out, stored := t.checkpoint.FirstRow, t.out, t.earlier == nil
	prolong := stored && !run.began && at > 0
	// A strict import sends these with the next chunk, which reuses this chunk's buffers,
	// so they must not refer to those.
	last, settled := t.chunk.last, t.chunk.settled(out.faults)
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

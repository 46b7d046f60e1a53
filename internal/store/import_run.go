package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"quern/internal/db"
	"quern/internal/postgres"
)

const (
	// importAttempts is how often a chunk is tried whose ids others took
	// between the look for them and the insert.
	importAttempts = 3

	// checkpointSweep is how many expired checkpoints an import removes at most.
	checkpointSweep = 10_000
)

// importRun is an import under way.
type importRun[R any] struct {
	subject subject[R]
	opts    ImportOptions
	res     ImportResult
	id      []byte // the hash of the first chunk, which names the import
	told    int64  // the line up to which rejects were told of
}

func runImport[R any](ctx context.Context, s *Store, of subject[R], r io.Reader, o ImportOptions) (ImportResult, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return ImportResult{}, err
	}
	run := &importRun[R]{subject: of, opts: o}
	if !o.Strict {
		err := run.pass(ctx, s, r)
		return run.res, err
	}
	again, free, err := rewindable(ctx, r)
	if err != nil {
		return run.res, err
	}
	defer free()
	err = s.InTx(ctx, func(q *db.Queries) error {
		run.res, run.id = ImportResult{}, nil
		r, err := again()
		if err != nil {
			return err
		}
		if err := run.pass(ctx, New(q), r); err != nil {
			return err
		}
		if run.res.Rejected > 0 {
			return fmt.Errorf("%d of %d %w", run.res.Rejected, run.res.Rows, ErrRejected)
		}
		return nil
	})
	if err != nil {
		// Nothing of it was stored.
		run.res = ImportResult{Rows: run.res.Rows, Rejected: run.res.Rejected, Line: run.res.Line}
	}
	return run.res, err
}

// rewindable returns what starts an input from where it stands now, as often as
// a transaction is repeated. What cannot seek is read into a file first.
func rewindable(ctx context.Context, r io.Reader) (again func() (io.Reader, error), free func(), err error) {
	seeker, ok := r.(interface {
		io.Seeker
		io.ReaderAt
	})
	free = func() {}
	start := int64(0)
	if ok {
		// A pipe is an *os.File too, and does not seek.
		start, err = seeker.Seek(0, io.SeekCurrent)
		ok = err == nil
	}
	if !ok {
		file, err := os.CreateTemp("", "quern-import-*")
		if err != nil {
			return nil, nil, err
		}
		free = func() {
			_ = file.Close()           // read to its end, or of no use any more
			_ = os.Remove(file.Name()) // it was removed below, where that is possible
		}
		_ = os.Remove(file.Name())
		if err := spool(ctx, file, r); err != nil {
			free()
			return nil, nil, err
		}
		seeker, start = file, 0
	}
	// Each with a place of its own: the pass before may be reading still.
	return func() (io.Reader, error) { return io.NewSectionReader(seeker, start, math.MaxInt64-start), nil }, free, nil
}

// spool copies r to a file until ctx ends.
func spool(ctx context.Context, file io.Writer, r io.Reader) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(file, r)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return unreadable(err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pass imports r from its beginning to its end. While one chunk is stored the
// next one is read.
func (run *importRun[R]) pass(ctx context.Context, s *Store, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	full := make(chan *chunk[R])
	empty := make(chan *chunk[R], 2)
	empty <- &chunk[R]{}
	empty <- &chunk[R]{}
	var c *chunker[R] // to be used when a chunk has come, or full is closed
	var failed error
	go func() {
		defer close(full)
		c, failed = run.start(r)
		for last := false; failed == nil && !last; {
			var into *chunk[R]
			select {
			case into = <-empty:
			case <-ctx.Done():
				return
			}
			if failed = c.read(into); failed != nil {
				return
			}
			last = into.last
			select {
			case full <- into:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return run.at(context.Cause(ctx))
		case chunk, more := <-full:
			if !more {
				// A context that ended stops the reading too.
				return run.at(cmp.Or(failed, context.Cause(ctx)))
			}
			if err := run.store(ctx, s, c.d, chunk); err != nil || chunk.last {
				return run.at(err)
			}
			empty <- chunk
		}
	}
}

// at says how far the import had come when it met err.
func (run *importRun[R]) at(err error) error {
	if err == nil || run.res.Line == 0 {
		return err
	}
	return fmt.Errorf("behind line %d: %w", run.res.Line, err)
}

// start opens the input. Its hash begins with all that makes this import
// another one than that of the same input otherwise.
func (run *importRun[R]) start(r io.Reader) (*chunker[R], error) {
	h := sha256.New()
	fmt.Fprintf(h, "quern import 1\n%s\n%q\n%s\n%t\n%d %d\n",
		run.subject.name(), run.opts.Key, run.opts.OnConflict, run.opts.Strict, run.opts.chunk, chunkBytes)
	src, err := newSource(r, h)
	if err != nil {
		return nil, err
	}
	return newChunker(run.subject, src, run.opts)
}

// store stores a chunk, unless an earlier run did.
func (run *importRun[R]) store(ctx context.Context, s *Store, d *decoder, c *chunk[R]) (err error) {
	if run.id == nil {
		if len(c.records) == 0 {
			run.res.Line = c.line
			return nil
		}
		run.id = append([]byte{}, c.hash[:]...)
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
	res := run.res
	res.Rows += int64(len(c.records))
	res.Rejected += int64(len(faults))
	res.Line = c.line
	if err == nil {
		all := done.plus(c.counts)
		res.Inserted += all.inserted
		res.Updated += all.updated
		res.Unchanged += all.unchanged
		res.Skipped += all.skipped
		if earlier != nil {
			res.Resumed += int64(len(c.records))
			res.ResumedAt = earlier.CreatedAt
		}
	}
	if told := run.tell(d, c, faults); told != nil {
		return errors.Join(err, told)
	}
	if err != nil {
		return err
	}
	run.res = res
	run.opts.Progress(res)
	return nil
}

// idTaken reports whether an id that was free a moment ago is not any more.
func idTaken(err error) bool {
	var e *postgres.Error
	return errors.As(err, &e) && e.Kind == postgres.ErrUnique && (e.Constraint == "users_pkey" || e.Constraint == "posts_pkey")
}

// storeOnce stores a chunk and its checkpoint in the transaction of q, or
// returns what the checkpoint says that is there already.
func (run *importRun[R]) storeOnce(ctx context.Context, q *db.Queries, c *chunk[R]) (
	out outcome, earlier *db.GetImportCheckpointRow, err error,
) {
	created, err := q.CreateImportCheckpoint(ctx, db.CreateImportCheckpointParams{Import: run.id, Hash: c.hash[:]})
	if err != nil {
		return out, nil, err
	}
	if created == 0 {
		earlier, err = q.GetImportCheckpoint(ctx, db.GetImportCheckpointParams{Import: run.id, Hash: c.hash[:]})
		if err == nil {
			out, err = outcomeOf(earlier, c)
		}
	} else {
		out, err = run.subject.merge(ctx, q, c, run.opts.OnConflict)
	}
	if err != nil {
		return out, earlier, err
	}
	rejected := run.res.Rejected + int64(len(out.faults)+len(c.faults))
	if most := run.opts.MaxRejects; most != nil && rejected > *most {
		return out, earlier, fmt.Errorf("%d of %d rows, where %d may be: %w",
			rejected, run.res.Rows+int64(len(c.records)), *most, ErrTooManyRejects)
	}
	// In a strict import these are sent with the next chunk, in whose memory this
	// one's hash does not stand any more.
	hash := slices.Clone(c.hash[:])
	return out, earlier, q.AtCommit(func(q *db.Queries) (err error) {
		if earlier == nil {
			err = q.UpdateImportCheckpoint(ctx, db.UpdateImportCheckpointParams{
				Inserted: out.inserted, Updated: out.updated, Unchanged: out.unchanged, Skipped: out.skipped,
				Rejects: out.marshalFaults(), Import: run.id, Hash: hash,
			})
		}
		if err == nil && c.last {
			if err = q.FinishImport(ctx, run.id); err == nil {
				err = q.DeleteImportCheckpoints(ctx, checkpointSweep)
			}
		}
		return err
	})
}

// tell reports the rejects of a chunk, each once however often the transaction
// of a strict import is repeated.
func (run *importRun[R]) tell(d *decoder, c *chunk[R], faults []fault) error {
	for _, f := range sorted(faults) {
		at := c.records[f.record]
		if at.line <= run.told {
			continue
		}
		if err := run.opts.Rejected(d.reject(at, c.text[at.from:at.to], f)); err != nil {
			return err
		}
		run.told = at.line
	}
	return nil
}

// marshalFaults writes down what the database refused; what the input had wrong
// is found in it again.
func (o outcome) marshalFaults() []byte {
	list := make([][3]any, len(o.faults))
	for i, f := range o.faults {
		list[i] = [3]any{f.record, f.field, f.reason}
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic(err) // of integers and strings
	}
	return b
}

// outcomeOf reads an outcome from a checkpoint.
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

// faultJSON is a fault as a checkpoint has it.
type faultJSON fault

func (f *faultJSON) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[3]any{&f.record, &f.field, &f.reason})
}

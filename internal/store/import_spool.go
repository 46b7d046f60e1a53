package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"quern/internal/rowfile"
)

var (
	// ErrInputTooLarge says that the input of a strict import is larger than all
	// temporary files of imports may be.
	ErrInputTooLarge = errors.New("the input is too large for a strict import")

	// ErrNoSpool says that there is no room for the input of a strict import in
	// temporary files: other imports use it, or the disk is almost full.
	ErrNoSpool = errors.New("no room for a temporary file")
)

// spoolStep is how much is written between two looks at the disk.
const spoolStep = 16 << 20

// spoolLimit bounds the temporary files of all imports.
type spoolLimit struct {
	most int64
	keep int64 // of the disk for others; 0: a tenth, or 1 GiB of a large one
	used atomic.Int64
}

// spoolFile is a temporary file that counts against a limit.
type spoolFile struct {
	limit *spoolLimit
	dir   string

	mu      sync.Mutex // a Read that goes on after its context ended may write yet
	file    *os.File
	size    int64
	checked int64 // the size at the last look at the disk
	closed  bool
}

func newSpoolFile(limit *spoolLimit) (*spoolFile, error) {
	s := &spoolFile{limit: limit, dir: os.TempDir()}
	if err := s.room(); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(s.dir, "quern-import-*")
	if err != nil {
		return nil, noSpool(err)
	}
	// Without a name it ends with the process, however that ends.
	_ = os.Remove(file.Name()) // close removes it where that is not possible
	s.file = file
	return s, nil
}

func (s *spoolFile) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	s.size += int64(len(p))
	used := s.limit.used.Add(int64(len(p)))
	switch {
	case s.size > s.limit.most:
		return 0, fmt.Errorf("%w: it has more than the %d bytes of IMPORT_SPOOL: import it without strict, or raise IMPORT_SPOOL", ErrInputTooLarge, s.limit.most)
	case used > s.limit.most:
		return 0, fmt.Errorf("%w: the strict imports under way need more than the %d bytes of IMPORT_SPOOL: try again later, or raise IMPORT_SPOOL", ErrNoSpool, s.limit.most)
	case s.size-s.checked >= spoolStep:
		s.checked = s.size
		if err := s.room(); err != nil {
			return 0, err
		}
	}
	n, err := s.file.Write(p)
	return n, noSpool(err)
}

// room looks whether the disk has room for another step beside what is kept free.
func (s *spoolFile) room() error {
	free, size, ok := diskSpace(s.dir)
	reserve := s.limit.keep
	if reserve == 0 {
		reserve = min(size/10, 1<<30)
	}
	if ok && free < reserve+spoolStep {
		return fmt.Errorf("%w: %s has %d bytes left, of which %d are kept free: import a file by its name, or set TMPDIR to a folder on another disk",
			ErrNoSpool, s.dir, free, reserve)
	}
	return nil
}

// noSpool tells a full disk from other errors of a temporary file.
func noSpool(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w: set TMPDIR to a folder on another disk", ErrNoSpool, err)
	}
	return err
}

func (s *spoolFile) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.file.Close()           // read to its end, or of no use any more
	_ = os.Remove(s.file.Name()) // mostly it has no name any more
	s.limit.used.Add(-s.size)
}

// rewindable returns a function that starts an input from its current position,
// as often as a transaction is repeated. An input that cannot seek is read into a
// temporary file first.
func rewindable(ctx context.Context, r io.Reader, limit *spoolLimit) (again func() io.Reader, free func(), err error) {
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
		file, err := newSpoolFile(limit)
		if err != nil {
			return nil, nil, err
		}
		if err := spool(ctx, file, r); err != nil {
			file.close()
			return nil, nil, err
		}
		free, seeker, start = file.close, file.file, 0
	}
	// Each with its own position: the pass before may be reading still.
	return func() io.Reader { return io.NewSectionReader(seeker, start, math.MaxInt64-start) }, free, nil
}

// spool copies r to a file until ctx ends.
func spool(ctx context.Context, file *spoolFile, r io.Reader) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(file, r)
		done <- err
	}()
	select {
	case err := <-done:
		switch {
		case err == nil, errors.Is(err, ErrNoSpool), errors.Is(err, ErrInputTooLarge):
			return err
		}
		return rowfile.Unreadable(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

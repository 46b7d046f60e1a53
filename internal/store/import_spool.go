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
	// ErrInputTooLarge: the input of a strict import is larger than the limit for all
	// temporary files of imports.
	ErrInputTooLarge = errors.New("the input is too large for a strict import")

	// ErrNoSpool: there is no space for the temporary file of a strict import, because
	// other imports use it or the disk is almost full.
	ErrNoSpool = errors.New("no disk space for a temporary file")
)

// spoolStep is how much is written between two checks of the disk.
const spoolStep = 16 << 20

// spoolLimit limits the temporary files of all imports.
type spoolLimit struct {
	most int64
	keep int64 // disk space to leave free; 0 means a tenth, at most 1 GiB
	used atomic.Int64
}

// spoolFile is a temporary file that counts towards a limit.
type spoolFile struct {
	limit *spoolLimit
	dir   string

	mu      sync.Mutex // because a Read may still write after its context is cancelled
	file    *os.File
	size    int64
	checked int64 // the size at the last check of the disk
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
	// Without a name, the file is removed when the process ends, even if it is killed.
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
		return 0, fmt.Errorf("%w: the running strict imports need more than the %d bytes of IMPORT_SPOOL: try again later, or raise IMPORT_SPOOL", ErrNoSpool, s.limit.most)
	case s.size-s.checked >= spoolStep:
		s.checked = s.size
		if err := s.room(); err != nil {
			return 0, err
		}
	}
	n, err := s.file.Write(p)
	return n, noSpool(err)
}

// room checks whether the disk has space for another step in addition to keep.
func (s *spoolFile) room() error {
	free, size, ok := diskSpace(s.dir)
	reserve := s.limit.keep
	if reserve == 0 {
		reserve = min(size/10, 1<<30)
	}
	if ok && free < reserve+spoolStep {
		return fmt.Errorf("%w: %s has %d bytes left, of which %d must stay free: pass the file by its name, or set TMPDIR to a directory on another disk",
			ErrNoSpool, s.dir, free, reserve)
	}
	return nil
}

// noSpool returns ErrNoSpool if the disk is full, and otherwise the error.
func noSpool(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w: set TMPDIR to a directory on another disk", ErrNoSpool, err)
	}
	return err
}

func (s *spoolFile) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.file.Close()           // it is not needed any more
	_ = os.Remove(s.file.Name()) // mostly it has no name any more
	s.limit.used.Add(-s.size)
}

// rewindable returns a function that opens the input at its current position. It may be
// called for each repetition of the transaction. An input that cannot seek is first copied
// to a temporary file.
func rewindable(ctx context.Context, r io.Reader, limit *spoolLimit) (again func() io.Reader, free func(), err error) {
	seeker, ok := r.(interface {
		io.Seeker
		io.ReaderAt
	})
	free = func() {}
	start := int64(0)
	if ok {
		// A pipe is also an *os.File, but cannot seek.
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
	// Each reader has its own position, because the previous pass may still be reading.
	return func() io.Reader { return io.NewSectionReader(seeker, start, math.MaxInt64-start) }, free, nil
}

// spool copies r to a file until ctx is cancelled.
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

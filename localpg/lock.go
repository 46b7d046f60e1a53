package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dirLock is an exclusive flock. The kernel releases it when its process ends for any reason.
type dirLock struct{ file *os.File }

// lockFile takes the lock immediately, or returns ErrInUse with the process that holds it.
func lockFile(path string) (*dirLock, error) {
	for {
		// O_NOFOLLOW, because root writes this file in a directory that may belong to another user.
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w: run as the owner of that directory, or choose another one", err)
		}
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			defer f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, &inUseError{dir: filepath.Dir(path), holder: holder(f)}
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// A failed start may have removed the file between the open and the lock. A lock on a removed file
		// excludes no other process.
		held, err1 := f.Stat()
		there, err2 := os.Lstat(path)
		if err1 != nil || err2 != nil || !os.SameFile(held, there) {
			f.Close()
			continue
		}
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), program()), 0)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return &dirLock{f}, nil
	}
}

// inUseError is ErrInUse with the process that holds the lock.
type inUseError struct{ dir, holder string }

func (e *inUseError) Error() string {
	return fmt.Sprintf("%s is in use by %s: stop that process, or choose another directory", e.dir, e.holder)
}

func (e *inUseError) Unwrap() error { return ErrInUse }

// awaitLock waits for the lock until ctx ends.
func awaitLock(ctx context.Context, path string) (*dirLock, error) {
	for {
		l, err := lockFile(path)
		if !errors.Is(err, ErrInUse) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// holder reads which process holds the lock. It writes its name right after it took the lock, so
// holder retries while the file is empty.
func holder(f *os.File) string {
	for range 50 {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 256))
		if err != nil {
			break
		}
		if line, whole := strings.CutSuffix(string(b), "\n"); whole {
			pid, name, _ := strings.Cut(line, " ")
			return fmt.Sprintf("process %s (%s)", pid, name)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return "another process"
}

// remove deletes the file while the lock is held.
func (l *dirLock) remove() { os.Remove(l.file.Name()) }

func (l *dirLock) release() {
	// Best effort. An empty file is only clearer than one with the name of an ended process.
	_ = l.file.Truncate(0)
	// Not only Close, because a process that is being started has a copy of the descriptor until
	// it executes its program.
	_ = syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	l.file.Close()
}

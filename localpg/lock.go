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

// dirLock is an exclusive flock. The kernel drops it when its process ends, however that happens.
type dirLock struct{ file *os.File }

// lockFile takes the lock at once or returns ErrInUse with the process that holds it.
func lockFile(path string) (*dirLock, error) {
	for {
		// Not through a symbolic link: root writes this file in a directory that may be another's.
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
		// Whoever failed to start may have removed the file between our open and our lock. A lock on
		// a removed file locks nobody out.
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
	return fmt.Sprintf("%s is in use by %s: stop that, or choose another directory", e.dir, e.holder)
}

func (e *inUseError) Unwrap() error { return ErrInUse }

// awaitLock takes the lock, waiting for its holder as long as ctx allows.
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

// holder reads who holds the lock. A holder writes its name right after it took the lock, so an empty
// file means: look again.
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

// remove takes the file away, while the lock is held.
func (l *dirLock) remove() { os.Remove(l.file.Name()) }

func (l *dirLock) release() {
	// Best effort: an empty file only reads better than the name of a process that has gone.
	_ = l.file.Truncate(0)
	l.file.Close()
}

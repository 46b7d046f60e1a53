package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// layout names the files in a server's directory.
type layout string

func (d layout) data() string   { return filepath.Join(string(d), "data") }
func (d layout) lock() string   { return filepath.Join(string(d), "lock") }
func (d layout) log() string    { return filepath.Join(string(d), "log") }
func (d layout) oldLog() string { return filepath.Join(string(d), "log.1") }
func (d layout) port() string   { return filepath.Join(string(d), "port") }

// freshPrefix begins the name of an unfinished data directory and of its password file. The rest of
// the name is random, because processes left by an interrupted start may still write to or remove the
// directory that they know.
const freshPrefix = "data.new-"

// Files of this package inside the PostgreSQL data directory. They must be created and deleted with
// it.
const (
	passwordFile  = "quern.password"
	databasesFile = "quern.databases"
)

func (d layout) initialized() bool {
	_, err := os.Lstat(d.data())
	return err == nil
}

// leftovers returns the data directories of interrupted first starts, and their password files.
func (d layout) leftovers() []string {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(string(d)), freshPrefix+"*")) // the pattern is well-formed
	return found
}

// inspect refuses a directory that this package did not create, before anything in it is changed.
func (d layout) inspect() error {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: it is a file: choose another directory (DATA_DIR)", ErrForeign)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run as the owner of that directory, or choose another one (DATA_DIR)", err)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "PG_VERSION" {
			return fmt.Errorf("%w: it is a PostgreSQL data directory made by another program: start that server with its own tools and set DATABASE_URL, or choose another directory (DATA_DIR)", ErrForeign)
		}
	}
	if d.initialized() {
		for _, name := range []string{"PG_VERSION", passwordFile} {
			if _, err := os.Stat(filepath.Join(d.data(), name)); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: data/%s is missing: choose another directory (DATA_DIR), or move this one", ErrForeign, name)
			}
		}
		return nil
	}
	for _, e := range entries {
		if !ours(e.Name()) {
			return fmt.Errorf("%w: it is not empty (%s): choose another directory (DATA_DIR), or move its files", ErrForeign, e.Name())
		}
	}
	return nil
}

// ours reports whether a directory without a server may contain the name. These are leftovers of an
// interrupted first start, and files that file systems and editors put into an empty directory.
func ours(name string) bool {
	switch name {
	case "lock", "log", "log.1", "port", "lost+found":
		return true
	}
	return strings.HasPrefix(name, freshPrefix) || strings.HasPrefix(name, ".")
}

// major returns the major version that created the data directory, or 0 if there is no data directory
// yet.
func (d layout) major() (int, error) {
	b, err := os.ReadFile(filepath.Join(d.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) && !d.initialized() {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%w: data/PG_VERSION does not contain a version (%q): restore the directory from a backup, or move it to start with an empty one",
			ErrForeign, b[:min(len(b), 20)])
	}
	return major, nil
}

// makeDirs creates dir and its parents and returns the created ones, the topmost first.
func makeDirs(dir string) (made []string, err error) {
	if parent := filepath.Dir(dir); parent != dir {
		if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
			if made, err = makeDirs(parent); err != nil {
				return nil, err
			}
		}
	}
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		return append(made, dir), nil
	case errors.Is(err, fs.ErrExist):
		return made, nil
	default:
		removeDirs(made)
		return nil, err
	}
}

// removeDirs removes the directories created by makeDirs if they are empty.
func removeDirs(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		if os.Remove(made[i]) != nil {
			return
		}
	}
}

// writeFile replaces a small file. It does not follow symbolic links, because root writes into
// directories of other users.
func writeFile(path, content string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// leastRoom is the space that a server needs to write its log and postmaster.pid. With less it can
// exit without a message, because its log is on the same disk.
const leastRoom = 64 << 10

// fullDisk are PostgreSQL's messages for a full disk, always in English because of lc_messages. A
// short write has no errno, only a hint.
var fullDisk = []string{"No space left on device", "Check free disk space"}

// nameFullDisk makes err say that the disk is full if that is why the start failed.
func nameFullDisk(dir layout, err error) error {
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || slices.ContainsFunc(fullDisk, func(s string) bool {
		return strings.Contains(err.Error(), s)
	})
	var ended endedError
	var failed *exec.ExitError
	if errors.As(err, &ended) || errors.As(err, &failed) {
		full = full || room(string(dir)) < leastRoom
	}
	if !full {
		return err
	}
	return fmt.Errorf("%w (%w): free some space on the file system of %s", ErrDiskFull, err, dir)
}

// room returns how many bytes an ordinary account may still write on the file system of dir. It is 0
// if there are no inodes left.
func room(dir string) uint64 {
	var on syscall.Statfs_t
	if syscall.Statfs(dir, &on) != nil {
		return math.MaxUint64 // unknown
	}
	if on.Files > 0 && on.Ffree == 0 {
		return 0
	}
	return on.Bavail * uint64(on.Bsize)
}

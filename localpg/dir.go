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

// layout names the files of a server's directory.
type layout string

func (d layout) data() string   { return filepath.Join(string(d), "data") }
func (d layout) lock() string   { return filepath.Join(string(d), "lock") }
func (d layout) log() string    { return filepath.Join(string(d), "log") }
func (d layout) oldLog() string { return filepath.Join(string(d), "log.1") }
func (d layout) port() string   { return filepath.Join(string(d), "port") }

// freshPrefix begins the name of a data directory in the making, and of the password file for it. The
// rest is new each time: what an earlier, killed start left running may still write to, or remove,
// the one it knows.
const freshPrefix = "data.new-"

// Files of ours inside the PostgreSQL data directory: they must come and go with it.
const (
	passwordFile  = "quern.password"
	databasesFile = "quern.databases"
)

func (d layout) initialized() bool {
	_, err := os.Lstat(d.data())
	return err == nil
}

// leftovers are the data directories of first starts that were interrupted, and their password files.
func (d layout) leftovers() []string {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(string(d)), freshPrefix+"*")) // a well-formed pattern
	return found
}

// inspect refuses a directory which this package did not make, before anything in it is touched.
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
			return fmt.Errorf("%w: it is a PostgreSQL data directory made by something else: start that with its own tools and set DATABASE_URL, or choose another directory (DATA_DIR)", ErrForeign)
		}
	}
	if d.initialized() {
		for _, name := range []string{"PG_VERSION", passwordFile} {
			if _, err := os.Stat(filepath.Join(d.data(), name)); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: data/%s is missing: choose another directory (DATA_DIR), or move this one away", ErrForeign, name)
			}
		}
		return nil
	}
	for _, e := range entries {
		if !ours(e.Name()) {
			return fmt.Errorf("%w: it is not empty (%s): choose another directory (DATA_DIR), or move what is in it away", ErrForeign, e.Name())
		}
	}
	return nil
}

// ours says whether a name may stand in a directory that has no server yet: leftovers of a first start
// that was interrupted, and what file systems and editors put into an empty folder.
func ours(name string) bool {
	switch name {
	case "lock", "log", "log.1", "port", "lost+found":
		return true
	}
	return strings.HasPrefix(name, freshPrefix) || strings.HasPrefix(name, ".")
}

// major is the major version which made the data directory, or 0 when there is none yet.
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
		return 0, fmt.Errorf("%w: data/PG_VERSION does not hold a version (%q): restore the directory from a backup, or move it away to begin anew",
			ErrForeign, b[:min(len(b), 20)])
	}
	return major, nil
}

// makeDirs makes dir and its parents and returns those it made, the topmost first.
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

// removeDirs takes back what makeDirs made, as far as it is empty.
func removeDirs(made []string) {
	for i := len(made) - 1; i >= 0; i-- {
		if os.Remove(made[i]) != nil {
			return
		}
	}
}

// writeFile replaces a small file, not through a symbolic link: root writes into directories which
// belong to others.
func writeFile(path, content string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// leastRoom is what a server needs to write its log and postmaster.pid. With less it can end without a
// word: its log is on the same disk.
const leastRoom = 64 << 10

// fullDisk is what PostgreSQL writes, in English always (lc_messages), if there is no room. A write that was cut short has no
// errno, only a hint.
var fullDisk = []string{"No space left on device", "Check free disk space"}

// nameFullDisk says that the disk is full if that is why a start failed with err.
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

// room is how many bytes an ordinary account may still write where dir is; none if there are no inodes left.
func room(dir string) uint64 {
	var on syscall.Statfs_t
	if syscall.Statfs(dir, &on) != nil {
		return math.MaxUint64 // it is not known
	}
	if on.Files > 0 && on.Ffree == 0 {
		return 0
	}
	return on.Bavail * uint64(on.Bsize)
}

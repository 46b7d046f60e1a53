package localpg

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of the given size in a new directory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := reachableDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		t.Skipf("mount: %v: a full disk needs root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullDisk_Messages has PostgreSQL's messages for a full disk. They depend on where the space ends.
func TestFullDisk_Messages(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]bool{
		`FATAL: could not write lock file "postmaster.pid": No space left on device`:                                             true,
		`ERROR: could not extend file "base/1/2610_fsm": wrote only 4096 of 8192 bytes at block 2; HINT: Check free disk space.`: true,
		`FATAL: could not create shared memory segment: Invalid argument`:                                                        false,
	} {
		err := nameFullDisk(layout(t.TempDir()), errors.New(message))
		if errors.Is(err, ErrDiskFull) != want {
			t.Errorf("%s: ErrDiskFull is %t, want %t", message, !want, want)
		}
	}
}

func TestFullDisk_FirstStart(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"64k", "4m", "40m"} {
		dir := filepath.Join(smallDisk(t, size), "postgres")
		_, err := Start(testContext(t), Config{Dir: dir})
		if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "free some space on the file system of "+dir) {
			t.Errorf("%s: err = %v, want ErrDiskFull and the hint", size, err)
		}
		if left := layout(dir).leftovers(); len(left) > 0 || layout(dir).initialized() {
			t.Errorf("%s: %v is left", size, left)
		}
	}
}

// TestFullDisk_SecondStart fills the disk except for a few pages, so that each file that a start writes
// is once the one that does not fit.
func TestFullDisk_SecondStart(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "160m")
	dir := filepath.Join(disk, "postgres")
	settings := map[string]string{"shared_buffers": "4MB"}
	s := mustStart(t, Config{Dir: dir, Settings: settings})
	mustExec(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS v")
	mustStop(t, s)
	filler := filepath.Join(disk, "filler")
	for pages := range 4 {
		fillDisk(t, filler, int64(pages)*4096)
		s, err := Start(testContext(t), Config{Dir: dir, Settings: settings})
		switch {
		case err == nil && pages > 0: // there were enough
			mustStop(t, s)
		case !errors.Is(err, ErrDiskFull):
			t.Fatalf("%d pages left: err = %v, want ErrDiskFull", pages, err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	again := mustStart(t, Config{Dir: dir, Settings: settings})
	if got := query(t, again.URL(), "SELECT v::text FROM kept"); got != "42" {
		t.Errorf("after the disk was full: got %s, want 42", got)
	}
}

// fillDisk writes a file until the disk is full, then truncates it to leave space.
func fillDisk(t *testing.T, path string, left int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for piece := make([]byte, 1<<16); ; {
		n, err := f.Write(piece)
		size += int64(n)
		if errors.Is(err, syscall.ENOSPC) {
			if len(piece) == 4096 {
				break
			}
			piece = piece[:4096]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size/4096*4096 - left); err != nil {
		t.Fatal(err)
	}
}

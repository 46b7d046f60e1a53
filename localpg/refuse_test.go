package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strings"
	"testing"
)

// tree lists the files below dir with their contents, so that tests can detect changes.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		uid, gid, _ := ownerOf(info)
		fmt.Fprintln(&b, path, info.Mode(), uid, gid)
		if e.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%q\n", content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fill creates files by their path below dir.
func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStart_Refuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		is    error
		says  []string
	}{
		"OtherVersion": {
			map[string]string{"data/PG_VERSION": "9\n", "data/" + passwordFile: "secret\n", "data/base/1": "x"},
			ErrVersion,
			[]string{"made by PostgreSQL 9", "install PostgreSQL 9", "DATA_DIR", "DATABASE_URL", "is installed"},
		},
		"NotEmpty":         {map[string]string{"thesis.tex": "x"}, ErrForeign, []string{"not empty (thesis.tex)", "DATA_DIR"}},
		"OthersCluster":    {map[string]string{"PG_VERSION": "15\n", "base/1": "x"}, ErrForeign, []string{"data directory made by another program"}},
		"OthersDataFolder": {map[string]string{"data/users.csv": "x"}, ErrForeign, []string{"data/PG_VERSION is missing"}},
		"OthersNested":     {map[string]string{"data/PG_VERSION": "15\n"}, ErrForeign, []string{passwordFile + " is missing"}},
		"BadVersionFile":   {map[string]string{"data/PG_VERSION": "x\n", "data/" + passwordFile: "secret\n"}, ErrForeign, []string{"PG_VERSION"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := reachableDir(t)
			fill(t, dir, c.files)
			before := tree(t, dir)
			_, err := Start(testContext(t), Config{Dir: dir})
			if !errors.Is(err, c.is) {
				t.Fatalf("got %v, want %v", err, c.is)
			}
			for _, part := range append(c.says, dir) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not contain %q", err, part)
				}
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the directory was changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func TestStart_RefusesFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(reachableDir(t), "file")
	fill(t, filepath.Dir(path), map[string]string{"file": "x"})
	if _, err := Start(testContext(t), Config{Dir: path}); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
	for _, cfg := range []Config{{}, {Dir: "a\nb"}, {Dir: path, Database: strings.Repeat("x", 64)}, {Dir: path, Database: "a\nb"}} {
		if _, err := Start(testContext(t), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// skipWithoutNamespaces ends a test that could not start a server. The test fails if user namespaces
// can be created.
func skipWithoutNamespaces(t *testing.T, err error) {
	t.Helper()
	if exec.Command("unshare", "--user", "true").Run() == nil {
		t.Fatal(err)
	}
	t.Skip(err)
}

// Root may run the server below a directory that only root may enter, such as its own home.
func TestStart_RootsPrivateDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	private := reachableDir(t)
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(private, "postgres")
	s, err := Start(testContext(t), Config{Dir: dir, Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		// A container may forbid user namespaces. Then the error must have a hint and nothing may be left.
		if !strings.Contains(err.Error(), "choose a directory that other users may enter") {
			t.Fatal(err)
		}
		if entries, _ := os.ReadDir(private); len(entries) > 0 {
			t.Errorf("%v is left", entries)
		}
		skipWithoutNamespaces(t, err)
	}
	defer mustStop(t, s)
	if got := query(t, s.SocketURL(), "SELECT 'in'"); got != "in" {
		t.Error(got)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "CapEff:\t0000000000000000\n") {
		t.Errorf("the server has capabilities:\n%s", status)
	}
}

// An operator who moves a directory from a public place to a private one, or back, keeps the data.
func TestStart_RootMovesDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	parent := reachableDir(t)
	dir := filepath.Join(parent, "postgres")
	s := mustStart(t, Config{Dir: dir})
	mustExec(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS v")
	query(t, s.URL(), "SELECT 'made'")
	info, err := os.Stat(layout(dir).data())
	if err != nil {
		t.Fatal(err)
	}
	if uid, _, _ := ownerOf(info); uid == 0 {
		t.Error("uses a namespace although an ordinary account is sufficient")
	}
	mustStop(t, s)
	for _, mode := range []fs.FileMode{0o700, 0o755} {
		if err := os.Chmod(parent, mode); err != nil {
			t.Fatal(err)
		}
		s, err := Start(testContext(t), Config{Dir: dir})
		if err != nil {
			skipWithoutNamespaces(t, err)
		}
		if got := query(t, s.URL(), "SELECT v::text FROM kept"); got != "42" {
			t.Errorf("got %s, want 42", got)
		}
		mustStop(t, s)
	}
}

// Files that root creates in another user's directory must belong to that user.
func TestStart_RootInSomeonesFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	folder := reachableDir(t)
	nobody, err := osuser.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	someone := accountOf(nobody, switched)
	if err := os.Chown(folder, someone.uid, someone.gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(folder, ".data", "postgres")
	s := mustStart(t, Config{Dir: dir})
	query(t, s.URL(), "SELECT 'in'")
	err = filepath.WalkDir(filepath.Join(folder, ".data"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running server creates and removes files
		}
		if err != nil {
			return err
		}
		if uid, _, _ := ownerOf(info); uid != someone.uid {
			t.Errorf("%s belongs to %d, want %d", path, uid, someone.uid)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

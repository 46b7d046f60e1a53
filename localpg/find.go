package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrNotInstalled means that no PostgreSQL is installed on this machine and none could be fetched.
var ErrNotInstalled = errors.New("PostgreSQL is not installed: " + installHint() + ", or set DATABASE_URL")

func installHint() string {
	if runtime.GOOS == "darwin" {
		return "run `brew install postgresql@17`"
	}
	return "run `apt-get install postgresql` (or your system's equivalent)"
}

// oldest is the oldest major version that Find accepts. initdb has --no-instructions since version 14.
const oldest = 14

// build is one installed PostgreSQL.
type build struct {
	dir     string // its directory with initdb and postgres
	version string // such as "15.18"
	major   int
}

// places are the directories where packages install programs that they do not link into $PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin",       // Debian, Ubuntu
	"/usr/pgsql-*/bin",                // the PostgreSQL project's RPMs
	"/usr/libexec/postgresql*",        // Alpine
	"/usr/local/pgsql/bin",            // built from source
	"/opt/homebrew/opt/postgres*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgres*/bin",    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgres*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// Find returns the directory with the programs of the newest installed PostgreSQL of version 14 or
// newer. It searches $PATH and the directories used by Linux distributions, Homebrew and Postgres.app.
// If there is none, it returns the build that Fetch installed in its default place, otherwise
// ErrNotInstalled.
func Find(ctx context.Context) (string, error) {
	all := installed(ctx)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "", ErrNotInstalled
	}
	return all[0].dir, nil
}

// Binaries is like Find, but if no PostgreSQL is installed, it fetches one into the default place of
// Fetch. Before a download it calls say, which may be nil, with a line of text.
func Binaries(ctx context.Context, say func(string)) (string, error) {
	dir, err := Find(ctx)
	if !errors.Is(err, ErrNotInstalled) {
		return dir, err
	}
	return Fetch(ctx, "", say)
}

// installed returns the builds on this machine, the newest first and the fetched one last. An installed
// PostgreSQL is preferred because it was chosen by the user and comes with psql and updates.
func installed(ctx context.Context) []build {
	var folders []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			folders = append(folders, dir)
		}
	}
	for _, place := range places {
		found, _ := filepath.Glob(place) // the patterns are well-formed
		folders = append(folders, found...)
	}
	list := probeAll(ctx, folders)
	slices.SortStableFunc(list, func(a, b build) int { return compareVersions(b.version, a.version) })
	if bin, err := fetchedBin(); err == nil {
		list = append(list, probeAll(ctx, []string{bin})...)
	}
	return list
}

func probeAll(ctx context.Context, folders []string) (list []build) {
	seen := map[string]bool{}
	for _, dir := range folders {
		// $PATH often contains a link to a program whose siblings are in another directory.
		program, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
		if err != nil || seen[filepath.Dir(program)] {
			continue
		}
		dir = filepath.Dir(program)
		seen[dir] = true
		if b, err := probe(ctx, dir); err == nil && b.major >= oldest {
			list = append(list, b)
		}
	}
	return list
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+)\S*)`)

// probe asks the postgres in dir for its version.
func probe(ctx context.Context, dir string) (build, error) {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return build{}, err
	}
	cmd := command(account{kind: asIs}, syscall.SIGKILL, "", filepath.Join(dir, "postgres"), "-V")
	out, err := run(ctx, cmd)
	if err != nil {
		return build{}, failure(cmd, out, err)
	}
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return build{}, fmt.Errorf("postgres -V: unexpected answer %q", strings.TrimSpace(out))
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return build{}, err
	}
	return build{dir: dir, version: m[1], major: major}, nil
}

// chooseBuild returns the build for a directory of the given major version, or for any version if that
// is 0.
func chooseBuild(ctx context.Context, given string, major int) (build, error) {
	var first build
	if given != "" {
		b, err := probe(ctx, given)
		if err != nil {
			return build{}, fmt.Errorf("binaries in %s: %w", given, err)
		}
		if major == 0 || b.major == major {
			return b, nil
		}
		first = b
	}
	all := installed(ctx)
	if err := ctx.Err(); err != nil {
		return build{}, err
	}
	for _, b := range all {
		if major == 0 || b.major == major {
			return b, nil
		}
	}
	if given == "" {
		if len(all) == 0 {
			return build{}, ErrNotInstalled
		}
		first = all[0]
	}
	return build{}, fmt.Errorf("%w: it was made by PostgreSQL %d, but PostgreSQL %s is installed: "+
		"install PostgreSQL %d, or move the directory to start with an empty one, or set DATA_DIR or DATABASE_URL",
		ErrVersion, major, first.version, major)
}

// compareVersions orders "9.6", "15.18" and "18beta1" by their numbers.
func compareVersions(a, b string) int {
	return slices.Compare(numbers(a), numbers(b))
}

var number = regexp.MustCompile(`\d+`)

func numbers(version string) (list []int) {
	for _, s := range number.FindAllString(version, -1) {
		n, _ := strconv.Atoi(s) // digits; one that overflows sorts as the largest
		list = append(list, n)
	}
	return list
}

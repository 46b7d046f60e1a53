package doctest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme runs the README in a copy of the repository, as after a clone. The sections
// that run sqlc are left out if the variable SQLC is not set, because sqlc takes a minute
// to compile.
func TestReadme(t *testing.T) {
	t.Parallel()
	dir := clone(t)
	p := Page{
		File:    filepath.Join(dir, "README.md"),
		Dir:     dir,
		Env:     asReader(t),
		Servers: map[string]string{"make run": "localhost:8080"},
		Skip:    map[string]string{"make test": "it runs this test"},
	}
	if os.Getenv("SQLC") == "" {
		p.Without = []string{"Adding a table", "A project of your own"}
	}
	Run(t, p)
}

// TestService follows docs/service.md in a copy of the repository.
func TestService(t *testing.T) {
	t.Parallel()
	dir := clone(t)
	Run(t, Page{
		File:    filepath.Join(dir, "docs/service.md"),
		Dir:     dir,
		Env:     asReader(t),
		Servers: map[string]string{"make run": "localhost:8080"},
		Skip:    map[string]string{"make client": "TestClients_TypeScript and TestClients_Go run it"},
	})
}

// TestReadme_Words holds the README to a length that is read.
func TestReadme_Words(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n >= 900 {
		t.Errorf("README.md has %d words, want fewer than 900: move what is not for a first reader to the pages in docs/", n)
	}
}

// clone copies the files of this repository that git has or would add.
func clone(t *testing.T) string {
	t.Helper()
	// In a container the repository may belong to another user, which git refuses by default.
	cmd := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = "../.."
	names, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	dir := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if err := copyFile(filepath.Join("../..", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return dir
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// asReader is the environment of a reader who has set nothing, on a free port and with a
// curl that is older than 7.82.
func asReader(t *testing.T) []string {
	t.Helper()
	real, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("the page uses curl: %v", err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "curl"), []byte(strings.ReplaceAll(oldCurl, "CURL", real)), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "LISTEN=127.0.0.1:0", "DATABASE_URL="}
}

// oldCurl refuses the options and the variables of -w that curl 7.82 and later have added
// (docs/options-in-versions in curl's repository). Debian 11 and Ubuntu 22.04 have older ones.
const oldCurl = `#!/bin/bash
for word; do
	case $word in
	--json | --no-clobber | --remove-on-error | --rate | --url-query | --http3-only | --ca-native | --proxy-ca-native | --proxy-http2 | \
	--haproxy-clientip | --trace-ids | --trace-config | --variable | --expand-* | --ipfs-gateway | --ech | --mptcp | --ip-tos | --vlan-priority | \
	--keepalive-cnt | --skip-existing | --tls-earlydata | --dns-ipv?-addr-* | --sigalgs | --upload-flags | --out-null | --parallel-max-host | \
	*%{header_json}* | *%header{* | *%output{* | *%{certs}* | *%{num_certs}* | *%{xfer_id}* | *%{conn_id}* | *%{num_retries}*)
		echo "curl: $word: this needs curl 7.82 or later" >&2
		exit 2
		;;
	esac
done
# An answer that is an error fails the block.
exec 'CURL' -f "$@"
`

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Not parallel, because it changes the environment of this process.
func TestLoadDotenv(t *testing.T) {
	t.Setenv("QUERN_TEST_TAKEN", "environment")
	t.Setenv("QUERN_TEST_HIDDEN", "")
	t.Setenv("QUERN_TEST_FREE", "")
	os.Unsetenv("QUERN_TEST_FREE")
	path := filepath.Join(t.TempDir(), ".env")
	writeTestFile(t, path, "# one comment\r\nQUERN_TEST_TAKEN=file\nexport QUERN_TEST_FREE='pa$$ word#1'\nQUERN_TEST_HIDDEN=file\n")

	added, err := loadDotenv(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"QUERN_TEST_FREE": true}, added); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"QUERN_TEST_TAKEN": "environment", "QUERN_TEST_HIDDEN": "", "QUERN_TEST_FREE": "pa$$ word#1",
	} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestLoadDotenv_None(t *testing.T) {
	t.Parallel()
	if added, err := loadDotenv(filepath.Join(t.TempDir(), ".env")); err != nil || len(added) > 0 {
		t.Errorf("got %v, %v", added, err)
	}
}

func TestLoadDotenv_Malformed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ content, line string }{
		"NoValue":      {"LISTEN=:1\n\n# c\nDATABASE_URL postgres://app:s3cret@db/x\nLOG_LEVEL=info\n", "line 4"},
		"OpenQuote":    {"LISTEN=:1\nDATABASE_URL='postgres://app:s3cret@db/x\nLOG_LEVEL=info\n", "line 2"},
		"FirstLine":    {"s3cret!\n", "line 1"},
		"NotText":      {"LISTEN=:1\n\x00\xff s3cret\n", "line 2"},
		"BehindQuoted": {"A='1\n2\n3'\ns3cret = = $\n!!s3cret\n", "line 5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), ".env")
			writeTestFile(t, path, c.content)
			_, err := loadDotenv(path)
			if err == nil {
				t.Fatal("it was read")
			}
			if !strings.Contains(err.Error(), c.line) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %q, want %s and no secret", err, c.line)
			}
		})
	}
}

func writeTestFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutput_Late creates a file with the output's name while an export runs. Without --force
// that file must stay, and nothing of the export must be left.
func TestOutput_Late(t *testing.T) {
	t.Parallel()
	for _, force := range []bool{false, true} {
		dir := t.TempDir()
		name := filepath.Join(dir, "users.csv")
		if err := checkOutput("-o", name, force); err != nil {
			t.Fatal(err)
		}
		out, err := (&app{}).createOutput(name, force)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, "ours"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		want := "ours"
		if err := out.keep(); force && err != nil {
			t.Errorf("with --force: %v", err)
		} else if !force {
			want = "theirs"
			if err == nil || !strings.Contains(err.Error(), "--force") {
				t.Errorf("without --force: err = %v, want the hint", err)
			}
		}
		if err := out.discard(); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("force %t: the file has %q, want %q; %v", force, got, want, err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("force %t: %v are left, %v", force, files, err)
		}
	}
}

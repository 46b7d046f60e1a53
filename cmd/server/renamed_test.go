package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A setting is accepted by its old name, as a flag, in the environment and in .env, with
// one warning that names the new one. Doctor lists it by its new name.
func TestRenamed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dotenv string
		env    []string
		args   []string
		value  string // the value of COALESCE_INSERTS in doctor's list, with its source
		warns  string
	}{
		"Flag":        {args: []string{"--no-share-inserts"}, value: "false flag", warns: "--no-share-inserts is deprecated: use its new name, --no-coalesce-inserts"},
		"FlagOfValue": {args: []string{"--share-inserts=false"}, value: "false flag", warns: "--share-inserts is deprecated: use its new name, --coalesce-inserts"},
		"Environment": {env: []string{"SHARE_INSERTS=false"}, value: "false environment", warns: "SHARE_INSERTS is deprecated: use its new name, COALESCE_INSERTS"},
		"Dotenv":      {dotenv: "SHARE_INSERTS=false\n", value: "false .env", warns: "SHARE_INSERTS is deprecated: use its new name, COALESCE_INSERTS"},
		"Both": {
			env: []string{"SHARE_INSERTS=false", "COALESCE_INSERTS=true"}, value: "true environment",
			warns: "SHARE_INSERTS is deprecated: use its new name, COALESCE_INSERTS",
		},
		"New":   {env: []string{"COALESCE_INSERTS=false"}, value: "false environment"},
		"Empty": {env: []string{"SHARE_INSERTS="}, value: "true default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(tt.dotenv), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, cmd := range []string{"queries", "doctor"} {
				c := command(t, dir, tt.env, append([]string{cmd}, tt.args...)...)
				var out bytes.Buffer
				c.Stdout = &out
				if err := c.Run(); err != nil {
					t.Fatalf("%v: %s", err, c.stderr)
				}
				said := c.stderr.String()
				if cmd == "doctor" {
					said = out.String()
					if !strings.Contains(strings.Join(strings.Fields(said), " "), "COALESCE_INSERTS "+tt.value) || strings.Contains(said, "\n  SHARE_INSERTS") {
						t.Errorf("doctor does not list COALESCE_INSERTS as %s:\n%s", tt.value, said)
					}
				}
				if n := strings.Count(said, "is deprecated"); tt.warns == "" && n != 0 || tt.warns != "" && (n != 1 || !strings.Contains(said, tt.warns)) {
					t.Errorf("%s: want the warning %q once, in:\n%s", cmd, tt.warns, said)
				}
			}
		})
	}
}

//go:build linux

package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCitus_Doctor places the tables twice, and undoes what doctor must notice.
func TestCitus_Doctor(t *testing.T) {
	c := newCitus(t, serviceOnCitus)
	exe := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", exe, "../../cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	execURL(t, c.coordinator.url, "INSERT INTO users (username, email) SELECT 'user' || i, 'x' FROM generate_series(1, 20) AS i")
	execURL(t, c.coordinator.url, "INSERT INTO posts (user_id, title, content) SELECT u.id, 'post', '' FROM users AS u")
	doctor := func(t *testing.T, want string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), exe, "doctor", "--counts")
		cmd.Env = append(os.Environ(), "DATABASE_URL="+c.coordinator.url.String())
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(out), want) {
			t.Errorf("%v, want %q:\n%s", err, want, out)
		}
	}
	doctor(t, "")
	c.place(t, serviceOnCitus)
	doctor(t, "")

	execURL(t, c.coordinator.url, "SELECT undistribute_table('idempotency_keys')")
	doctor(t, "table idempotency_keys is local")
	execURL(t, c.coordinator.url, "SELECT create_reference_table('idempotency_keys')")

	execURL(t, c.coordinator.url, `CREATE OR REPLACE VIEW unfolded_posts AS
		SELECT '0'::xid8 AS xid, d.id, d.user_id, d.day, d.tags, d.n FROM (SELECT 1::bigint AS id, 1::bigint AS user_id, now()::date AS day, '[]'::jsonb AS tags, 1 AS n LIMIT 0) AS d`)
	doctor(t, "statistics omit posts")
	c.place(t, serviceOnCitus)
	doctor(t, "")
}

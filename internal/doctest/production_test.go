package doctest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"quern/localpg"
)

// TestProduction_Restore follows the backup and restore of docs/production.md, on a server of its
// own with the service's schema and a row.
func TestProduction_Restore(t *testing.T) {
	t.Parallel()
	binaries, err := localpg.Find(t.Context())
	if err != nil {
		t.Skipf("no PostgreSQL with its client programs: %v", err)
	}
	if _, err := exec.LookPath(filepath.Join(binaries, "pg_basebackup")); err != nil {
		t.Skipf("%s has no pg_basebackup, such as the build that localpg fetches: %v", binaries, err)
	}
	dir, err := os.MkdirTemp("", "quern-restore-") // short, because sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// The server refuses to run as root. Elsewhere there may be no sudo.
	run := `exec "$@"`
	if os.Getuid() == 0 {
		run = `exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"`
		own(t, dir, "postgres")
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte("#!/bin/sh\nshift 2\n"+run+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	env := []string{
		"PGDATA=" + data, "BACKUP=" + filepath.Join(dir, "backup"),
		"PGHOST=" + dir, "PGUSER=postgres", "LC_ALL=C",
		"PATH=" + bin + ":" + binaries + ":" + os.Getenv("PATH"),
	}
	t.Cleanup(func() {
		for _, d := range []string{data, data + ".restored"} {
			stop := exec.CommandContext(context.WithoutCancel(t.Context()), "sudo", "-u", "postgres", "pg_ctl", "-D", d, "-m", "immediate", "stop")
			stop.Path, stop.Env = filepath.Join(bin, "sudo"), append(os.Environ(), env...)
			_ = stop.Run() // one of them does not run
		}
	})
	setUp := fmt.Sprintf(`cd %[1]q
sudo -u postgres initdb -D "$PGDATA" -U postgres --auth=trust --encoding=UTF8 --no-sync >/dev/null
sudo -u postgres sh -c "echo \"unix_socket_directories = '$PGHOST'\" >>'$PGDATA/postgresql.conf'; echo \"listen_addresses = ''\" >>'$PGDATA/postgresql.conf'"
sudo -u postgres mkdir "$BACKUP"
sudo -u postgres pg_ctl -D "$PGDATA" -w -l "$BACKUP/postgres.log" start >/dev/null
sudo -u postgres psql -qc 'CREATE DATABASE quern'
DATABASE_URL="host=$PGHOST user=postgres dbname=quern" go run ./cmd/server migrate up
sudo -u postgres psql -q -d quern -c "INSERT INTO users (username, email) VALUES ('ada', 'ada@example.org')" -c "INSERT INTO posts (user_id, title, content) SELECT id, 'kept', '' FROM users"
`, root)
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", setUp)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	Run(t, Page{File: filepath.Join(root, "docs/production.md"), Dir: dir, Env: env, Sections: []string{"Backup and point-in-time restore"}})
}

// own gives a directory to a user.
func own(t *testing.T, dir, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

package doctest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"quern/localpg"
)

// upgradeSetUp starts both servers and the service, whose clients repeat each request
// with its key until it is answered. They write the titles and ids of their posts to acks.
const upgradeSetUp = `cd %[1]q
go build -o "$BIN/server" ./cmd/server
start() { # DIR PROGRAMS PORT
	sudo -u postgres "$2/initdb" -D "$1" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
	sudo -u postgres sh -c "printf 'port = %%s\nfsync = off\nlisten_addresses = 127.0.0.1\nunix_socket_directories = \n' $3 | sed \"s/= 127.*/= '127.0.0.1'/; s/= $/= ''/\" >>'$1/postgresql.conf'"
	sudo -u postgres "$2/pg_ctl" -D "$1" -w -l "$1.log" start >/dev/null
	psql -q "postgres://postgres@127.0.0.1:$3/postgres" -c 'CREATE DATABASE quern'
}
start "$PGDATA" "$OLD_PROGRAMS" "$OLD_PORT"
start "$DIR/new" "$NEW_PROGRAMS" "$NEW_PORT"
DATABASE_URL="$OLD" server migrate up >/dev/null
psql -q "$OLD" -c "INSERT INTO users (username, email) VALUES ('ada', 'ada@example.org')" -c "INSERT INTO posts (user_id, title, content) SELECT 1, 'old ' || n, '' FROM generate_series(1, 1000) AS n"
echo "DATABASE_URL=$OLD" >"$ENVIRONMENT"
systemctl start quern
for client in 1 2; do
	(n=0; until [ -e "$DIR/enough" ]; do
		n=$((n + 1)); title="client $client post $n"
		until [ "$(curl -s -o "$DIR/answer.$client" -w '%%{http_code}' -H 'Content-Type: application/json' -H "Idempotency-Key: $client-$n" \
			-d "{\"title\":\"$title\",\"content\":\"\"}" "http://127.0.0.1:$PORT/v1/users/1/posts")" = 201 ]; do
			[ ! -e "$DIR/enough" ] || exit; sleep 0.05
		done
		echo "$title $(sed 's/.*"id":\([0-9]*\).*/\1/' "$DIR/answer.$client")" >>"$DIR/acks.$client"
	done) >/dev/null 2>&1 &
done
until [ "$(cat "$DIR"/acks.* 2>/dev/null | wc -l)" -gt 20 ]; do sleep 0.1; done
`

// upgradeCheck lets the clients go on, and compares their posts with those on the new server.
const upgradeCheck = `last="SELECT last_value FROM posts_id_seq"
[ "$(psql "$NEW" -Atc "$last")" -gt "$(psql "$OLD" -Atc "$last")" ] || { echo "the ids of new posts are taken"; exit 1; }
before=$(cat "$DIR"/acks.* | wc -l)
until [ "$(cat "$DIR"/acks.* | wc -l)" -gt $((before + 50)) ]; do
	[ $SECONDS -lt 60 ] || { echo "posts are not answered any more: $(cat "$DIR"/answer.1)"; exit 1; }
	sleep 0.1
done
touch "$DIR/enough"
sort "$DIR"/acks.* >"$DIR/acknowledged"
psql "$NEW" -Atc "SELECT title || ' ' || id FROM posts WHERE title LIKE 'client%'" | sort >"$DIR/stored"
echo "$(wc -l <"$DIR/acknowledged") acknowledged, $(comm -23 "$DIR/acknowledged" "$DIR/stored" | wc -l) lost, $(sed 's/ [0-9]*$//' "$DIR/stored" | sort | uniq -d | wc -l) doubled"
DATABASE_URL="$NEW" server doctor >"$DIR/doctor" || cat "$DIR/doctor"
systemctl stop quern
`

// systemctl replaces that of systemd. It runs the service with its environment file.
const systemctl = `#!/bin/bash
case $1 in
start) set -a; . "$ENVIRONMENT"; LISTEN=127.0.0.1:$PORT MIGRATE=false server >"$DIR/service.log" 2>&1 & echo $! >"$DIR/service.pid"
	until curl -sf -o /dev/null "http://127.0.0.1:$PORT/readyz"; do kill -0 "$(cat "$DIR/service.pid")" || exit 1; sleep 0.05; done ;;
stop) kill "$(cat "$DIR/service.pid")"; while kill -0 "$(cat "$DIR/service.pid")" 2>/dev/null; do sleep 0.05; done ;;
esac
`

// TestProduction_Upgrade follows the upgrade of docs/production.md from the installed
// PostgreSQL to 18, under clients.
func TestProduction_Upgrade(t *testing.T) {
	t.Parallel()
	if os.Getenv("LOCALPG_TEST_FETCH") == "" {
		t.Skip("set LOCALPG_TEST_FETCH=1 to download a PostgreSQL of another major version, 24 MB")
	}
	for _, program := range []string{"curl", "psql"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed: apt-get install curl postgresql-client")
		}
	}
	older, err := localpg.Find(t.Context())
	if err != nil {
		t.Skip(err)
	}
	newer, err := localpg.Fetch(t.Context(), "", func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "quern-upgrade-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	run := `exec "$@"`
	if os.Getuid() == 0 {
		run = `exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"`
		own(t, dir, "postgres")
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"sudo": "#!/bin/sh\nshift 2\n" + run + "\n", "systemctl": systemctl} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ports := freePorts(t, 3)
	env := []string{
		"DIR=" + dir, "BIN=" + bin, "PGDATA=" + filepath.Join(dir, "old"), "ENVIRONMENT=" + filepath.Join(dir, "environment"),
		"OLD_PROGRAMS=" + older, "NEW_PROGRAMS=" + newer, "OLD_PORT=" + ports[0], "NEW_PORT=" + ports[1], "PORT=" + ports[2],
		"OLD=postgres://postgres@127.0.0.1:" + ports[0] + "/quern", "NEW=postgres://postgres@127.0.0.1:" + ports[1] + "/quern",
		"LC_ALL=C", "PATH=" + bin + ":" + older + ":" + os.Getenv("PATH"),
	}
	bash := func(ctx context.Context, script string) (string, error) {
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Cleanup(func() {
		_, _ = bash(context.WithoutCancel(t.Context()), `touch "$DIR/enough"; kill "$(cat "$DIR/service.pid")" || true
for data in "$PGDATA" "$DIR/new"; do sudo -u postgres pg_ctl -D "$data" -m immediate stop || true; done`)
	})
	if out, err := bash(t.Context(), fmt.Sprintf(upgradeSetUp, root)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if v := versionOf(t, bash, "$OLD"); strings.HasPrefix(v, versionOf(t, bash, "$NEW")[:2]) {
		t.Skip("PostgreSQL " + v + " is installed, and no newer major version can be fetched")
	}
	Run(t, Page{File: filepath.Join(root, "docs/production.md"), Dir: dir, Env: env, Sections: []string{"Upgrade PostgreSQL to a new major version"}})
	out, err := bash(t.Context(), upgradeCheck)
	t.Log(out)
	if err != nil || !regexp.MustCompile(`^\d+ acknowledged, 0 lost, 0 doubled\n$`).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

// versionOf returns a server's version.
func versionOf(t *testing.T, bash func(context.Context, string) (string, error), url string) string {
	t.Helper()
	out, err := bash(t.Context(), `psql "`+url+`" -Atc "SHOW server_version"`)
	if err != nil {
		t.Fatal(out, err)
	}
	return strings.TrimSpace(out)
}

// freePorts returns n ports on which nothing listens.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // once all are chosen
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

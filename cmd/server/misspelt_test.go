package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMisspelt(t *testing.T) {
	t.Parallel()
	_, parser := defaults(t)
	for name, want := range map[string]string{ // the intended name; "-" for no warning
		"DATABSE_URL": "DATABASE_URL", "DATABASE_URI": "DATABASE_URL", "DATABASEURL": "DATABASE_URL", "database_url": "DATABASE_URL",
		"DATABASE_ULR": "DATABASE_URL", "DATABASE_REPLICA_URL": "DATABASE_REPLICA_URLS", "LISEN": "LISTEN", "LSITEN": "LISTEN",
		"POOL_MAXCONNS": "POOL_MAX_CONNS", "POOL_MAX_CONN": "POOL_MAX_CONNS", "POOL_MAX_CONN_LIFE_TIME": "POOL_MAX_CONN_LIFETIME",
		"MIGRATES": "MIGRATE", "QUERY_TIME_OUT": "QUERY_TIMEOUT", "LOG_LEVLE": "LOG_LEVEL", "SHUTDOWN_TIMOUT": "SHUTDOWN_TIMEOUT",
		"COALESCE_READ": "COALESCE_READS", "TX_MAXIDLE": "TX_MAX_IDLE",

		// Settings, and variables that other programs use.
		"DATABASE_URL": "-", "LISTEN": "-", "POOLER": "-", "TEST_DATABASE_URL": "-",
		"HOST": "-", "PORT": "-", "PGHOST": "-", "PGPORT": "-", "PGDATABASE": "-", "PGCONNECT_TIMEOUT": "-", "PGUSER": "-", "PGDATA": "-",
		"LISTEN_FDS": "-", "LISTEN_PID": "-", "LISTEN_FDNAMES": "-", "HOSTNAME": "-", "PATH": "-", "HOME": "-", "LANG": "-", "TERM": "-",
		"USER": "-", "PWD": "-", "SHELL": "-", "EDITOR": "-", "PAGER": "-", "MAIL": "-", "TMPDIR": "-", "TZ": "-", "LOGNAME": "-", "DEBUG": "-",
		"DATABASE_USER": "-", "DATABASE_NAME": "-", "DATABASE_HOST": "-", "DATABASE_PORT": "-", "REDIS_URL": "-", "BASE_URL": "-",
		"DB_URL": "-", "POSTGRES_URL": "-", "POSTGRES_PASSWORD": "-", "XDG_DATA_DIRS": "-", "XDG_CONFIG_DIRS": "-", "LOG_FORMAT": "-",
		"HTTP_TIMEOUT": "-", "READ_TIMEOUT": "-", "GOMEMLIMIT": "-", "OTEL_EXPORTER_OTLP_ENDPOINT": "-", "MANPATH": "-", "CI": "-",
		"KUBERNETES_SERVICE_HOST": "-", "KUBERNETES_PORT": "-", "NOTIFY_SOCKET": "-", "INVOCATION_ID": "-", "JOURNAL_STREAM": "-",
		"SSH_CONNECTION": "-", "DBUS_SESSION_BUS_ADDRESS": "-", "WEB_CONCURRENCY": "-", "NODE_ENV": "-", "LOGLEVEL": "LOG_LEVEL",
	} {
		got := misspelt(parser.Model, nil, []string{name + "=s3cret"})
		switch {
		case want == "-" && got != nil:
			t.Errorf("%s in the environment: %q, want no warning", name, got)
		case want != "-" && (len(got) != 1 || got[0] != name+" in the environment is not a setting: did you mean "+want+"?"):
			t.Errorf("%s in the environment: %q, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{ // of .env, where every unknown name counts
		"DATABSE_URL": "did you mean DATABASE_URL?", "PGHOTS": "did you mean PGHOST?", "FROBNICATE": "remove it, or look for the name in `server --help`",
		"DATABASE_URL": "", "PGHOST": "", "OTEL_SERVICE_NAME": "", "GOMEMLIMIT": "",
	} {
		got := misspelt(parser.Model, []string{name}, []string{name + "=s3cret"})
		if want != "" {
			want = name + " in .env is not a setting: " + want
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s in .env: %q, want %q", name, got, want)
		}
	}
}

// Every command that uses the settings prints the warning. Doctor prints it among its findings.
func TestMisspelt_Said(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("FROBNICATE=s3cret\nLOG_LEVEL=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"queries"}, {"doctor"}} {
		c := command(t, dir, []string{"DATABSE_URL=postgres://app:s3cret@db/x"}, args...)
		var out bytes.Buffer
		c.Stdout = &out
		if err := c.Run(); err != nil {
			t.Errorf("%v: %v: %s", args, err, c.stderr)
		}
		said := c.stderr.String()
		if args[0] == "doctor" {
			if said != "" {
				t.Errorf("doctor says it twice: %s", said)
			}
			said = out.String()
		}
		for _, want := range []string{
			"FROBNICATE in .env is not a setting: remove it, or look for the name in `server --help`",
			"DATABSE_URL in the environment is not a setting: did you mean DATABASE_URL?",
		} {
			if strings.Count(said, want) != 1 || strings.Contains(said, "s3cret") {
				t.Errorf("%v: %q is not said once, and without values, in:\n%s", args, want, said)
			}
		}
	}
}

// Beyond loopback, the embedded database is not started unless that is allowed.
func TestServe_EmbeddedBeyondLoopback(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		dir := t.TempDir()
		c := command(t, dir, []string{"LISTEN=" + listen})
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if code := c.exit(t); code != exitFailure || !strings.HasPrefix(c.stderr.String(), "server: DATABASE_URL is not set, and LISTEN is "+listen+", beyond loopback: ") {
			t.Errorf("LISTEN=%s: exit %d: %s", listen, code, c.stderr)
		}
		if _, err := os.Stat(filepath.Join(dir, ".data")); err == nil {
			t.Errorf("LISTEN=%s: it has made a data directory", listen)
		}
	}
	c := command(t, t.TempDir(), []string{"LISTEN=:0"}, "doctor")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err == nil || !strings.Contains(out.String(), "  wrong  DATABASE_URL is not set, and LISTEN is :0, beyond loopback: ") {
		t.Errorf("doctor: %v:\n%s", err, out.String())
	}
	p := serve(t, t.TempDir(), "LISTEN=0.0.0.0:0", "ALLOW_EMBEDDED=true", "INSECURE=true")
	p.createUser(t, "ann")
}

package main

import (
	"os"
	"testing"

	"quern/internal/storetest"
)

// asServer is set in the environment of a test binary that runs as the server. It has the same
// code, exit codes and signals, and the race detector.
const asServer = "QUERN_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	storetest.Main(m)
}

// environment returns the variables of this process that a server under test gets.
func environment() []string {
	// A process with the race detector waits a second at its end by default.
	env := []string{asServer + "=1", "GORACE=atexit_sleep_ms=0"}
	// HOME and the cache may contain a PostgreSQL that was fetched.
	for _, name := range []string{"PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"failed to connect:\n\t127.0.0.1: refused\n\n\t[::1]: refused\n", "failed to connect: 127.0.0.1: refused [::1]: refused"},
		{"failed to connect:\n\t127.0.0.1: refused\n\t127.0.0.1: refused: check", "failed to connect: 127.0.0.1: refused: check"},
		{"one", "one"},
		{"", ""},
	} {
		if got := oneLine(c.in); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestWithoutPasswords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"unexpected argument postgres://app:s3cret@db:5432/x", "unexpected argument postgres://app:xxxxx@db:5432/x"},
		{"postgres://app:s3:c@ret@db/x and postgres://b:s3cret@c/", "postgres://app:xxxxx@db/x and postgres://b:xxxxx@c/"},
		{"host=db password=s3cret dbname=x", "host=db password=xxxxx dbname=x"},
		{`host=db password = 's3 \' cret' dbname=x`, "host=db password = xxxxx dbname=x"},
		{"postgres://db/x?user=app&password=s3cret&sslmode=require", "postgres://db/x?user=app&password=xxxxx&sslmode=require"},
		{"postgres://db/x?sslpassword=s3cret", "postgres://db/x?sslpassword=xxxxx"},
		{"http://127.0.0.1:8080/v1 and a@b", "http://127.0.0.1:8080/v1 and a@b"},
		{"password authentication failed", "password authentication failed"},
	} {
		if got := withoutPasswords(c.in); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

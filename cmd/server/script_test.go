package main

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"quern/internal/storetest"
	"quern/pgtest"
)

// TestScripts runs the command line as a shell would: testdata/*.txtar.
// Beside testscript's own, the scripts have these commands:
//
//	server ARGS…        run it; it must succeed
//	exits CODE ARGS…    run it; it must exit with this code
//	database [empty]    set DATABASE_URL to a database of the script's own, and ROLE
//	sql STATEMENT       run it there
//
// After each run of the server its output must not contain a secret.
func TestScripts(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for _, variable := range environment() {
				name, value, _ := strings.Cut(variable, "=")
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg {
					ts.Fatalf("say with which code: exits CODE ARGS…")
				}
				runServer(ts, exe, exitSuccess, args)
			},
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				code, err := strconv.Atoi(args[0])
				ts.Check(err)
				runServer(ts, exe, code, args[1:])
			},
			"database": func(ts *testscript.TestScript, neg bool, args []string) {
				create := storetest.NewURL
				if len(args) > 0 {
					create = pgtest.EmptyURL
				}
				address := create(t)
				ts.Setenv("DATABASE_URL", address)
				if config, err := pgx.ParseConfig(address); err == nil {
					ts.Setenv("ROLE", config.User)
				}
			},
			"sql": func(ts *testscript.TestScript, neg bool, args []string) {
				conn, err := pgx.Connect(t.Context(), ts.Getenv("DATABASE_URL"))
				ts.Check(err)
				_, err = conn.Exec(t.Context(), strings.Join(args, " "))
				ts.Check(conn.Close(t.Context()))
				if neg != (err != nil) {
					ts.Fatalf("sql: %v", err)
				}
			},
		},
	})
}

var oneErrorLine = regexp.MustCompile(`^(time=.*\n)*server: .+\n$`)

func runServer(ts *testscript.TestScript, exe string, code int, args []string) {
	err := ts.Exec(exe, args...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != code {
		ts.Fatalf("server exited with %d, want %d", got, code)
	}
	stderr := ts.ReadFile("stderr")
	if got != 0 && !oneErrorLine.MatchString(stderr) {
		ts.Fatalf("an error is one line that starts with server:, behind the log")
	}
	for _, secret := range secrets(ts) {
		if strings.Contains(ts.ReadFile("stdout")+stderr, secret) {
			ts.Fatalf("server printed the secret %s", secret)
		}
	}
}

// secrets returns texts that no script may print.
func secrets(ts *testscript.TestScript) []string {
	list := []string{"s3cret"}
	if u, err := url.Parse(ts.Getenv("DATABASE_URL")); err == nil {
		if password, ok := u.User.Password(); ok {
			list = append(list, password)
		}
	}
	file := filepath.Join(ts.MkAbs(".data"), "postgres", "data", "quern.password")
	if password, err := os.ReadFile(file); err == nil {
		list = append(list, strings.TrimSpace(string(password)))
	}
	return list
}

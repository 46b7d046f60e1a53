package main

import (
	"bytes"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/joho/godotenv"

	"quern/internal/storetest"
	"quern/postgres"
)

// defaults parses an empty command line in an empty environment.
func defaults(t *testing.T) (cli, *kong.Kong) {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range settingNames(parser) {
		if os.Getenv(name) != "" {
			t.Skipf("%s is set here", name)
		}
	}
	if _, err := parser.Parse(nil); err != nil {
		t.Fatal(err)
	}
	return c, parser
}

func settingNames(parser *kong.Kong) (names []string) {
	for _, f := range parser.Model.Flags {
		names = append(names, f.Tag.Envs...)
	}
	return names
}

// Every field is a setting, and every setting has an environment variable.
func TestSettings_EachHasAVariable(t *testing.T) {
	t.Parallel()
	_, parser := defaults(t)
	if got, want := len(settingNames(parser)), reflect.TypeFor[settings]().NumField(); got != want {
		t.Errorf("%d of %d settings have an environment variable", got, want)
	}
}

func TestSettings_Help(t *testing.T) {
	t.Parallel()
	var c cli
	var out bytes.Buffer
	parser, err := kong.New(&c, kong.Exit(func(int) {}), kong.Writers(&out, &out))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = parser.Parse([]string{"--help"}) // it prints the help, and continues only in this test
	for _, f := range parser.Model.Flags {
		for _, name := range f.Tag.Envs {
			if !strings.Contains(out.String(), "$"+name) {
				t.Errorf("--help does not name %s", name)
			}
		}
		if f.HasDefault && !strings.Contains(strings.Join(strings.Fields(out.String()), " "), f.Default) {
			t.Errorf("--help does not name the default of %s, %s", f.Name, f.Default)
		}
	}
}

// The example file names every setting with its default, in order.
func TestSettings_Example(t *testing.T) {
	t.Parallel()
	_, parser := defaults(t)
	text, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	uncommented := strings.ReplaceAll("\n"+string(text), "\n#", "\n")
	var names []string
	values := map[string]string{}
	for line := range strings.Lines(uncommented) {
		if name, _, found := strings.Cut(line, "="); found && name == strings.ToUpper(name) && !strings.Contains(name, " ") {
			parsed, err := godotenv.Unmarshal(line)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			names = append(names, name)
			maps.Copy(values, parsed)
		}
	}
	want := settingNames(parser)
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(names))); diff != "" {
		t.Errorf(".env.example and the settings differ (-settings +example):\n%s", diff)
	}
	for _, f := range parser.Model.Flags {
		if f.HasDefault && values[f.Tag.Envs[0]] != f.Default {
			t.Errorf("%s is %q in .env.example and %q by default", f.Tag.Envs[0], values[f.Tag.Envs[0]], f.Default)
		}
	}
}

// The defaults that --help shows are those of the pool.
func TestSettings_PoolDefaults(t *testing.T) {
	t.Parallel()
	c, _ := defaults(t)
	url := storetest.NewURL(t)
	connect := func(cfg postgres.Config) postgres.Config {
		router, err := postgres.Connect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer router.Close()
		return router.Config()
	}
	want := connect(postgres.Config{URL: url})
	got := connect(c.Settings.postgres(url, nil))
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(postgres.Config{}, "Statements", "Logger")); diff != "" {
		t.Errorf("(-postgres.Config +settings):\n%s", diff)
	}
}

// TestSettings_Background checks that TASK_RETENTION reaches the sweep, and which values are
// valid.
func TestSettings_Background(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{"": 720 * time.Hour, "36h": 36 * time.Hour, "0": 0} {
		var c cli
		parser, err := kong.New(&c, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		var args []string
		if value != "" {
			args = []string{"--task-retention=" + value}
		}
		if _, err := parser.Parse(args); err != nil {
			t.Fatal(err)
		}
		if got := c.Settings.background(nil).TaskRetention; got != want {
			t.Errorf("TASK_RETENTION=%s: tasks are kept for %v, want %v", value, got, want)
		}
		if _, err := parser.Parse([]string{"--task-retention=-1s"}); err == nil || !strings.Contains(err.Error(), "TASK_RETENTION is -1s: set it to a duration like 720h, or to 0") {
			t.Errorf("TASK_RETENTION=-1s: %v", err)
		}
	}
}

// Settings reach the pool. The defaults above are the same on both sides, so they do not show
// that.
func TestSettings_ReachThePool(t *testing.T) {
	t.Parallel()
	c, _ := defaults(t)
	want := c.Settings.postgres("", nil)
	want.URL, want.ReplicaURLs, want.ReplicaMaxLag = "", []string{"host=a", "host=b"}, 11*time.Second
	want.MaxConns, want.MinConns, want.PoolClasses = 9, 3, map[string]string{"bulk": "2", "other": "10%"}
	want.MaxConnLifetime, want.MaxConnIdle, want.AcquireTimeout = 12*time.Second, 13*time.Second, 14*time.Second
	want.ConnectTimeout, want.ConnectRetries = 15*time.Second, 16
	want.QueryTimeout, want.TxMaxIdle, want.SlowQuery = 17*time.Second, 18*time.Second, 19*time.Second
	want.CoalesceReads, want.CoalesceInserts, want.CoalesceTransactions = new(false), new(false), new(false)
	want.Pooler, want.LogQueries = postgres.PoolerTransaction, true

	var set cli
	parser, err := kong.New(&set, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{
		"--database-replica-urls=host=a", "--database-replica-urls=host=b", "--replica-max-lag=11s",
		"--pool-max-conns=9", "--pool-min-conns=3", "--pool-classes=bulk=2 other=10%",
		"--pool-max-conn-lifetime=12s", "--pool-max-conn-idle=13s", "--pool-acquire-timeout=14s",
		"--connect-timeout=15s", "--connect-retries=16", "--query-timeout=17s", "--tx-max-idle=18s", "--slow-query=19s",
		"--no-coalesce-reads", "--no-coalesce-inserts", "--no-coalesce-transactions", "--pooler=transaction", "--log-queries",
	}); err != nil {
		t.Fatal(err)
	}
	got := set.Settings.postgres("", nil)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(postgres.Config{}, "Statements", "Logger")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Zero means the default in postgres.Config, and "none" in the settings.
func TestSettings_None(t *testing.T) {
	t.Parallel()
	cfg := (&settings{ConnectRetries: 0, SlowQuery: 0}).postgres("", nil)
	if cfg.ConnectRetries >= 0 || cfg.SlowQuery >= 0 {
		t.Errorf("got %d retries and slow from %s, want both negative, for never", cfg.ConnectRetries, cfg.SlowQuery)
	}
}

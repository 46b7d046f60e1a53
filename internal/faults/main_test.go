//go:build linux

package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"quern"
	"quern/internal/db"
	"quern/internal/localcluster"
	"quern/localpg"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
)

// long selects the long form of each test. `make faults` sets it.
var long = os.Getenv("QUERN_FAULTS") == "long"

// times returns the number of repetitions in this run.
func times(short, atLength int) int {
	if long {
		return atLength
	}
	return short
}

// quick are settings of a server whose data only its own tests need. Its
// COMMITs do not wait for the disk.
var quick = map[string]string{"fsync": "off", "synchronous_commit": "off"}

// quiet discards the log messages that the tests provoke.
var quiet = slog.New(slog.DiscardHandler)

const (
	user     = "quern"
	database = "quern"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if dir := theLab.dir; dir != "" {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

var (
	theLab  lab
	openLab = sync.OnceValue(theLab.open)
)

// useLab returns the lab. The first test that needs it creates a data directory
// with the migrated schema and shuts its server down cleanly. A copy of it is a
// new primary, or a standby of one.
func useLab(t testing.TB) *lab {
	t.Helper()
	if err := openLab(); err != nil {
		t.Fatalf("set up PostgreSQL for the tests: %v", err)
	}
	return &theLab
}

func (l *lab) open() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if l.bin, err = localpg.Binaries(ctx, func(line string) { fmt.Fprintln(os.Stderr, line) }); err != nil {
		return err
	}
	if l.credential, err = localcluster.Account(); err != nil {
		return err
	}
	if l.dir, err = pgtest.NewDir(); err != nil {
		return err
	}
	if l.credential != nil {
		if err := os.Chown(l.dir, int(l.credential.Uid), int(l.credential.Gid)); err != nil {
			return err
		}
	}
	l.password = rand.Text()
	return l.makeTemplate(ctx)
}

func (l *lab) template() string { return filepath.Join(l.dir, "template") }

func (l *lab) makeTemplate(ctx context.Context) error {
	return l.makeData(ctx, l.template())
}

// makeData creates a data directory with the migrated schema and shuts its
// server down cleanly. It is a cluster with a new system identifier.
func (l *lab) makeData(ctx context.Context, dir string) error {
	secret := filepath.Join(l.dir, "password")
	if err := os.WriteFile(secret, []byte(l.password+"\n"), 0o644); err != nil {
		return err
	}
	// Small WAL files make small copies. SCRAM would cost thousands of connections
	// some milliseconds of two cores each.
	err := l.run(filepath.Join(l.bin, "initdb"), "-D", dir, "-U", user, "--pwfile="+secret, "--auth=md5",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1")
	if err := errors.Join(err, os.Remove(secret)); err != nil {
		return err
	}
	n := &node{lab: l, name: "template", dir: dir, settings: map[string]string{"fsync": "off"}}
	if err := n.tryStart(); err != nil {
		return err
	}
	defer n.destroy()
	if err := n.exec(ctx, "postgres", "CREATE DATABASE "+database); err != nil {
		return err
	}
	m, err := migrate.New(migrate.Config{URL: n.url(), FS: quern.Migrations(), Logger: quiet})
	if err != nil {
		return err
	}
	_, err = m.Up(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	return n.shutDown()
}

// patient are the application's statements without their deadlines. A quarter
// of a second is short on a busy machine. Tests distinguish slow calls from
// calls that wait for a dead server by their duration.
var patient = func() []postgres.Statement {
	list := slices.Clone(db.Statements)
	for i := range list {
		list[i].Timeout = 0
	}
	return list
}()

// connect opens a Router like the server does, by default with patient
// statements. It is closed with the test.
func connect(t testing.TB, cfg postgres.Config) (*postgres.Router, *db.Queries) {
	t.Helper()
	if cfg.Statements == nil {
		cfg.Statements = patient
	}
	cfg.Logger = quiet
	router, err := postgres.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(router.Close)
	return router, db.New(router)
}

package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quern/localpg"
	"quern/postgres"
)

// TestDoctor_Standby runs doctor on a server whose synchronous standby is not connected, before
// and while a COMMIT waits for it.
func TestDoctor_Standby(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	binaries, err := localpg.Find(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pg, err := localpg.Start(ctx, localpg.Config{
		Dir: filepath.Join(t.TempDir(), "postgres"), Binaries: binaries,
		Settings: map[string]string{"fsync": "off", "synchronous_standby_names": "gone"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = pg.Stop(ctx)
	})
	router, err := postgres.Connect(ctx, postgres.Config{URL: pg.URL(), MaxConns: 4, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(router.Close)
	says := func() string {
		s, err := look(ctx, router)
		if err != nil {
			t.Fatal(err)
		}
		x := &report{}
		x.check(s, 4, &database{dir: "x"})
		var all strings.Builder
		for _, f := range x.findings {
			all.WriteString(string(f.level) + " " + f.text + "\n")
		}
		return all.String()
	}
	if got := says(); !strings.Contains(got, "wrong no standby of synchronous_standby_names = 'gone' is connected") {
		t.Errorf("doctor says %q", got)
	}
	waiting, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = router.Exec(waiting, "CREATE TABLE t (n int)")
	}()
	var got string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = says(); strings.Contains(got, "wrong commits wait for a synchronous standby: 1 are waiting now") {
			break
		}
	}
	cancel()
	<-ended
	if !strings.Contains(got, "wrong commits wait for a synchronous standby: 1 are waiting now") {
		t.Errorf("while a COMMIT waits doctor says %q", got)
	}
}

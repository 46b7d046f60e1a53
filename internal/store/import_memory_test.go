package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

const twoUsers = "username,email\nann,a\nbob,b\n"

// eventually polls cond, which must hold soon.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestImport_MemoryIsUsed(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	s := d.Store.Waiting(50*time.Millisecond, store.Limits{ImportMemory: store.MinImportMemory})
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := s.ImportUsers(t.Context(), r, store.ImportOptions{})
		first <- err
	}()
	eventually(t, "the first import runs", func() bool { runs, _, _ := s.Used(); return runs == 1 })
	_, err := s.ImportUsers(t.Context(), strings.NewReader(twoUsers), store.ImportOptions{})
	if !errors.Is(err, store.ErrImportsBusy) || !strings.Contains(err.Error(), "IMPORT_MEMORY") {
		t.Errorf("a second import: %v, want ErrImportsBusy with a hint", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ImportUsers(ctx, strings.NewReader(twoUsers), store.ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("one whose context has ended: %v", err)
	}
	if _, err := io.WriteString(w, twoUsers); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := d.Count(t, "SELECT count(*) FROM users"); n != 2 {
		t.Errorf("%d users", n)
	}
	if _, err := s.ImportUsers(t.Context(), strings.NewReader(twoUsers), store.ImportOptions{Key: "2", OnConflict: store.ConflictSkip}); err != nil {
		t.Errorf("one after it: %v", err)
	}
}

// TestImport_LongRecords runs imports with long records at once, strict and not, on fewer
// connections than there are imports. If an import waited for memory while it holds a
// connection, none of them would end.
func TestImport_LongRecords(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 4, AcquireTimeout: time.Minute})
	s := d.Store.Waiting(time.Minute, store.Limits{})
	u := d.CreateUser(t)
	content := strings.Repeat("words and ", 200_000)
	var all sync.WaitGroup
	const imports, rows = 8, 3
	for i := range imports {
		all.Go(func() {
			var parts []io.Reader
			for n := range rows {
				parts = append(parts, strings.NewReader(fmt.Sprintf(`{"user_id":%d,"title":"%d of %d","content":"`, u.ID, n, i)), strings.NewReader(content), strings.NewReader("\"}\n"))
				parts = append(parts, strings.NewReader(fmt.Sprintf(`{"user_id":%d,"title":"short %d of %d","content":""}`+"\n", u.ID, n, i)))
			}
			res, err := s.ImportPosts(t.Context(), io.MultiReader(parts...), store.ImportOptions{Strict: i%2 == 0})
			if err != nil || res.Inserted != 2*rows {
				t.Errorf("%+v, %v", res, err)
			}
			if _, wide, _ := s.Used(); wide > 1 {
				t.Errorf("%d imports have long records at once", wide)
			}
		})
	}
	all.Wait()
	if n := d.Count(t, "SELECT count(*) FROM posts WHERE content = '' OR length(content) = $1", len(content)); n != 2*imports*rows {
		t.Errorf("%d posts, want %d", n, 2*imports*rows)
	}
	if runs, wide, spool := s.Used(); runs != 0 || wide != 0 || spool != 0 {
		t.Errorf("%d imports, %d long records and %d bytes are in use", runs, wide, spool)
	}
}

// TestImport_LongRecordWaits makes an import wait for the memory that another one has reserved.
func TestImport_LongRecordWaits(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	s := d.Store.Waiting(50*time.Millisecond, store.Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := s.ImportUsers(ctx, r, store.ImportOptions{})
		first <- err
	}()
	long := twoUsers + `"` + strings.Repeat("x", 1<<20)
	if _, err := io.WriteString(w, long); err != nil {
		t.Fatal(err)
	}
	for _, strict := range []bool{false, true} {
		if _, err := s.ImportUsers(t.Context(), strings.NewReader(long), store.ImportOptions{Strict: strict}); !errors.Is(err, store.ErrImportsBusy) || errors.Is(err, store.ErrInput) {
			t.Errorf("strict %t: %v, want ErrImportsBusy", strict, err)
		}
	}
	// Its Read still blocks.
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.ImportUsers(t.Context(), strings.NewReader(long), store.ImportOptions{}); err != nil {
		t.Errorf("after it: %v", err)
	}
	w.Close()
}

// TestImport_LongRecordGivesBack continues an import after its long record is stored. Other
// imports must be able to use the memory for long records by then.
func TestImport_LongRecordGivesBack(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	s := d.Store.Waiting(time.Minute, store.Limits{})
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := s.ImportUsers(t.Context(), r, store.ImportOptions{})
		first <- err
	}()
	// When Write returns, the record has been read. It is stored soon afterwards.
	if _, err := io.WriteString(w, twoUsers+"cyd,"+strings.Repeat("x", 2<<20)+"\ndan,d\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its room is given back", func() bool { _, wide, _ := s.Used(); return wide == 0 })
	select {
	case err := <-first:
		t.Errorf("the import has ended: %v", err)
	default:
	}
	w.Close()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := d.Count(t, "SELECT count(*) FROM users"); n != 3 {
		t.Errorf("%d users, want the three with a short record", n)
	}
}

// TestImport_Spool fills the space for temporary files, and checks that no files are left.
func TestImport_Spool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	d := storetest.New(t)
	s := d.Store.Waiting(time.Minute, store.Limits{ImportSpool: 100})
	strict := func(ctx context.Context, s *store.Store, r io.Reader) error {
		_, err := s.ImportUsers(ctx, r, store.ImportOptions{Strict: true})
		return err
	}
	if err := strict(t.Context(), s, strings.NewReader(twoUsers+strings.Repeat("x,x\n", 25))); err != nil && !errors.Is(err, store.ErrRejected) {
		t.Errorf("an input that can seek: %v", err)
	}
	large := func() io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", 101))) }
	if err := strict(t.Context(), s, large()); !errors.Is(err, store.ErrInputTooLarge) || errors.Is(err, store.ErrInput) || !strings.Contains(err.Error(), "IMPORT_SPOOL") {
		t.Errorf("101 bytes: %v, want ErrInputTooLarge with a hint", err)
	}
	// Another import in progress uses 60 bytes.
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() { first <- strict(ctx, s, r) }()
	if _, err := io.WriteString(w, strings.Repeat("x", 60)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "60 bytes are in use", func() bool { _, _, spool := s.Used(); return spool == 60 })
	if err := strict(t.Context(), s, io.MultiReader(strings.NewReader(twoUsers), strings.NewReader(strings.Repeat("\n", 50)))); !errors.Is(err, store.ErrNoSpool) {
		t.Errorf("60 and 77 of 100 bytes: %v, want ErrNoSpool", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := strict(t.Context(), s, io.MultiReader(strings.NewReader(twoUsers), iotest.ErrReader(errors.New("broken")))); !errors.Is(err, store.ErrInput) {
		t.Errorf("a reader that fails: %v", err)
	}
	if err := strict(t.Context(), s, io.MultiReader(strings.NewReader(twoUsers))); err != nil {
		t.Errorf("after them: %v", err)
	}
	if _, _, spool := s.Used(); spool != 0 {
		t.Errorf("%d bytes are in use", spool)
	}
	full := d.Store.Waiting(time.Minute, store.Limits{})
	full.KeepFree(1 << 62)
	if err := strict(t.Context(), full, io.MultiReader(strings.NewReader(twoUsers))); !errors.Is(err, store.ErrNoSpool) || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("a full disk: %v, want ErrNoSpool with a hint", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v", left, err)
	}
	w.Close()
}

// TestNewWithLimits imports in a transaction with separate limits.
func TestNewWithLimits(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
		_, err := store.NewWithLimits(q, store.Limits{ImportMemory: 1 << 40, ImportSpool: 1}).ImportUsers(t.Context(), strings.NewReader(twoUsers), store.ImportOptions{})
		return err
	})
	if n := d.Count(t, "SELECT count(*) FROM users"); err != nil || n != 2 {
		t.Errorf("%d users, %v", n, err)
	}
}

package store_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"quern/internal/store"
	"quern/internal/storetest"
)

// slowSeeker is a file on a slow disk, so that a repeated import begins its next pass while the
// previous pass is still reading.
type slowSeeker struct{ r *bytes.Reader }

func (s slowSeeker) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.r.Read(p[:min(len(p), 4096)])
}

func (s slowSeeker) ReadAt(p []byte, at int64) (int, error) {
	time.Sleep(time.Millisecond)
	return s.r.ReadAt(p[:min(len(p), 4096)], at)
}
func (s slowSeeker) Seek(o int64, w int) (int64, error) { return s.r.Seek(o, w) }

// TestImport_StrictRepeated repeats the transaction of a strict import in its third chunk. If
// checkpoints of the first two chunks were stored before it commits, the repetition would omit
// their rows.
func TestImport_StrictRepeated(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	d.Exec(t, `CREATE SEQUENCE once; CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF nextval('once') = 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NEW; END $$;
	CREATE TRIGGER once BEFORE INSERT ON import_checkpoints FOR EACH ROW EXECUTE FUNCTION once()`)
	var b bytes.Buffer
	fmt.Fprintln(&b, "username,email")
	const rows = 20000
	for i := range rows {
		fmt.Fprintf(&b, "user%06d,user%06d@example.com\n", i, i)
	}
	var r io.ReadSeeker = slowSeeker{bytes.NewReader(b.Bytes())}
	_, err := d.Store.ImportUsers(t.Context(), r, store.ImportOptions{Strict: true}.WithChunk(50))
	n := d.Count(t, "SELECT count(*) FROM users WHERE email = username || '@example.com'")
	if err != nil || n != rows {
		t.Errorf("err %v, %d rows of %d", err, n, rows)
	}
	// The result of each chunk is stored with the next one.
	if n := d.Count(t, "SELECT sum(inserted) FROM import_checkpoints"); n != rows {
		t.Errorf("the checkpoints speak of %d rows, want %d", n, rows)
	}
}

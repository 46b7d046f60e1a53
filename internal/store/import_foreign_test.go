package store_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"quern/internal/store"
	"quern/internal/storetest"
)

const threeRows = "username,email\nann,a@x\nbob,b@x\ncy,c@x\n"

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, text)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func unhex(text string) string {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// wide writes ASCII in units of so many bytes.
func wide(text string, size, at int) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		bytes := make([]byte, size)
		bytes[at] = byte(unit)
		b.Write(bytes)
	}
	return b.String()
}

// TestImport_Foreign checks that an input in another format is refused with one error that
// names its format and has a hint, whether it is gzipped or not, and for both formats of
// imports.
func TestImport_Foreign(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Name: "a-file-with-a-long-name.csv", Mode: 0o600, Size: int64(len(threeRows))})
	if _, werr := io.WriteString(w, threeRows); errors.Join(err, werr, w.Close()) != nil {
		t.Fatal(err, werr)
	}
	const crAlone = "its lines end in CR only"
	for _, c := range []struct{ input, says, hint string }{
		{unhex("504b030414000000080025127c5dc447d7d81f0000001f00000005000000752e637376"), "a zip archive, such as an .xlsx", "unzip it"},
		{unhex("28b52ffd241ff90000757365726e616d652c656d61696c0a616e6e2c6140780a"), "compressed by zstd", "zstd -d"},
		{unhex("fd377a585a000004e6d6b4460200210116000000742fe5a301001e7573"), "compressed by xz", "xz -d"},
		{unhex("425a6839314159265359d33dabb500000e558000100004400032279a4020"), "compressed by bzip2", "bzip2 -d"},
		{unhex("04224d186440a71f000080757365726e616d652c656d61696c0a"), "compressed by lz4", "lz4 -d"},
		{"PAR1\x15\x04\x15\x30\x15\x2c\x4c\x15\x06", "a Parquet file", "convert it to CSV"},
		{"ORC\x11\x00\x00\x0a\x06", "an ORC file", "convert it to CSV"},
		{"Obj\x01\x04\x14avro.codec", "an Avro file", "NDJSON"},
		{"ARROW1\x00\x00\xff\xff\xff\xff", "an Arrow file", "DuckDB"},
		{"SQLite format 3\x00\x10\x00\x01\x01", "an SQLite database", "sqlite3 -csv"},
		{unhex("d0cf11e0a1b11ae10000000000000000"), "an old Office document", "CSV"},
		{"PGDMP\x01\x0e\x00\x04\x08\x01\x01", "an archive of pg_dump", "pg_restore"},
		{"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00", "PostgreSQL's binary COPY", "csv header"},
		{"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document", "CSV"},
		{archive.String(), "a tar archive", "extract it"},
		{"\xff\xfe" + wide(threeRows, 2, 0), "UTF-16", "iconv"},
		{"\xfe\xff" + wide(threeRows, 2, 1), "UTF-16", "iconv"},
		{wide(threeRows, 2, 0), "UTF-16 without a byte order mark", "iconv -f UTF-16LE"},
		{wide(threeRows, 2, 1), "UTF-16 without a byte order mark", "iconv -f UTF-16BE"},
		{wide(`{"username":"ann"}`, 2, 0), "UTF-16 without a byte order mark", "iconv"},
		{"\xff\xfe\x00\x00" + wide(threeRows, 4, 0), "UTF-32", "iconv"},
		{wide(threeRows, 4, 0), "UTF-32", "iconv"},
		{wide(threeRows, 4, 3), "UTF-32", "iconv"},
		{"\x7fELF\x02\x01\x01\x00\x00\x00", "binary", "send CSV or NDJSON"},
		{"<!DOCTYPE html>\n<html><body>Log in</body></html>\n", "HTML or XML", "error page"},
		{"\ufeff \n<?xml version=\"1.0\"?>\n<users/>\n", "HTML or XML", "error page"},
		{`[{"username":"ann","email":"x"}]`, "it is a JSON array", "jq -c '.[]'"},
		{"\n [\n  {\"username\":\"ann\",\"email\":\"x\"}\n]\n", "it is a JSON array", "jq -c '.[]'"},
		{strings.ReplaceAll(threeRows, "\n", "\r"), crAlone, "tr '"},
		{"{\"username\":\"ann\",\"email\":\"x\"}\r{\"username\":\"bob\",\"email\":\"x\"}\r", crAlone, "tr '"},
	} {
		for _, format := range []store.Format{store.FormatAuto, store.FormatCSV, store.FormatNDJSON} {
			for name, input := range map[string]string{"": c.input, "gzipped": gzipped(t, c.input)} {
				isJSON := strings.HasPrefix(c.input, "{")
				if c.says == crAlone && format != store.FormatAuto && isJSON != (format == store.FormatNDJSON) {
					continue // the wrong format is named
				}
				for slow, r := range map[string]io.Reader{"": strings.NewReader(input), "slowly": iotest.OneByteReader(strings.NewReader(input))} {
					if strings.HasPrefix(c.says, "a tar") && slow != "" {
						continue // the format shows only after more bytes than the detection waits for
					}
					res, err := d.Store.ImportUsers(t.Context(), r, store.ImportOptions{Format: format})
					if !errors.Is(err, store.ErrInput) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.hint) || res.Rows > 0 {
						t.Errorf("%.20q as %q, %s %s: %+v, %v, want %q and %q", c.input, format, name, slow, res, err, c.says, c.hint)
					}
				}
			}
		}
	}
	if n := d.Count(t, "SELECT count(*) FROM users"); n != 0 {
		t.Errorf("%d users are stored", n)
	}
	for _, c := range []struct {
		format store.Format
		input  string
		says   string
	}{
		{store.FormatAuto, gzipped(t, gzipped(t, threeRows)), "it is gzipped twice"},
		{store.FormatNDJSON, threeRows, "it is CSV"},
		{store.FormatNDJSON, strings.ReplaceAll(threeRows, ",", ";"), "it is CSV"},
		{store.FormatCSV, `{"username":"ann","email":"x"}`, "it is NDJSON"},
	} {
		if _, err := d.Store.ImportUsers(t.Context(), strings.NewReader(c.input), store.ImportOptions{Format: c.format}); !errors.Is(err, store.ErrInput) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.20q as %s: %v", c.input, c.format, err)
		}
	}
	// The name of an ignored column may begin like the signature of a format, and a row may
	// contain a NUL or a CR.
	for i, input := range []string{
		"ORC,username,email\n1,a,x\n", "BZh9,username,email\n1,b,x\n", "PAR1,username,email\n1,c,x\n", "username,email,_\r\nd,x,\"\r\"\r\n",
		"email,username\nx,\"e\rf\"\n", "username,email\ng\x00,x\ng,x\n", "{\"username\":\"h\",\r\"email\":\"x\"}\n",
	} {
		res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(input), store.ImportOptions{IgnoreUnknown: true})
		if err != nil || res.Inserted != 1 {
			t.Errorf("%d: %+v, %v", i, res, err)
		}
	}
}

// TestImport_CutGzip truncates gzip data. The error must say so, the rows of whole chunks must
// be stored, and an import of the whole file must resume after them.
func TestImport_CutGzip(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	var b strings.Builder
	b.WriteString("username,email\n")
	for n := range 5000 {
		fmt.Fprintf(&b, "user%d,%x\n", n, n*n*7919)
	}
	whole := gzipped(t, b.String())
	o := store.ImportOptions{}.WithChunk(100)
	res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(whole[:len(whole)/2]), o)
	if !errors.Is(err, store.ErrInput) || !strings.Contains(err.Error(), "gzip data is truncated") || !strings.Contains(err.Error(), fmt.Sprintf("line %d", res.Line)) {
		t.Errorf("err = %v", err)
	}
	if n := d.Count(t, "SELECT count(*) FROM users"); n == 0 || n%100 != 0 || int64(n) != res.Inserted || res.Line != res.Inserted+1 {
		t.Errorf("%d users, %+v, want those of whole chunks", n, res)
	}
	damaged := []byte(whole)
	damaged[len(damaged)-8] ^= 1 // of its checksum
	if _, err := d.Store.ImportUsers(t.Context(), bytes.NewReader(damaged), store.ImportOptions{Strict: true, Key: "damaged"}); !errors.Is(err, store.ErrInput) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
	res, err = d.Store.ImportUsers(t.Context(), strings.NewReader(whole), o)
	if err != nil || res.Rows != 5000 || res.Resumed == 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if n := d.Count(t, "SELECT count(*) FROM users"); n != 5000 {
		t.Errorf("%d users, want 5000", n)
	}
}

// TestImport_Columns tests the allowed forms of a header. If a column is not allowed, the
// file is rejected with one error.
func TestImport_Columns(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	run := func(input string, o store.ImportOptions) (store.ImportResult, error) {
		d.Exec(t, "TRUNCATE users, import_checkpoints CASCADE")
		return d.Store.ImportUsers(t.Context(), strings.NewReader(input), o)
	}
	ignore := store.ImportOptions{IgnoreUnknown: true}
	semicolon, tab := store.ImportOptions{Delimiter: ';'}, store.ImportOptions{Delimiter: '\t'}
	for _, c := range []struct {
		input string
		o     store.ImportOptions
	}{
		{" Username ,EMAIL,\"Age\"\nann,x,7\n", store.ImportOptions{}},
		{"\ufeffUSERNAME,email\u00a0,aGe\r\nann,x,7\r\n", store.ImportOptions{}},
		{"username;email;age\nann;x;7\n", semicolon},
		{"username\temail\tage\nann\tx\t7\n", tab},
		{"username|email|age\n\"ann\"|\"x\"|7\n", store.ImportOptions{Delimiter: '|'}},
		{"username,nick,email,age,nick,\nann,n,x,7,\"m\nm\",\n", ignore},
		{"_note,username,email,age\n,ann,x,7\n", store.ImportOptions{}},
		{`{"username":"ann","nick":{"a":[1]},"email":"x","age":7,"Username":1}` + "\n", ignore},
		{`{"username":"ann","_nick":{"a":[1]},"email":"x","age":7}` + "\n", store.ImportOptions{}},
	} {
		res, err := run(c.input, c.o)
		if n := d.Count(t, "SELECT count(*) FROM users WHERE username = 'ann' AND email = 'x' AND age = 7"); err != nil || n != 1 {
			t.Errorf("%q: %+v, %v", c.input, res, err)
		}
	}
	for _, c := range []struct {
		input     string
		o         store.ImportOptions
		says      string
		line      int64
		delimiter byte
		unknown   bool
	}{
		{"username;email\nann;x\n", store.ImportOptions{}, "separated by a semicolon", 1, ';', false},
		{"\n\"Username\";\"Email\";age\nann;x\n", store.ImportOptions{}, "separated by a semicolon", 2, ';', false},
		{"username;email\nann;x\n", ignore, "separated by a semicolon", 1, ';', false},
		{"username\temail\nann\tx\n", store.ImportOptions{}, "separated by a tab", 1, '\t', false},
		{"username|email|nick\nann|x|n\n", store.ImportOptions{}, "separated by a pipe", 1, '|', false},
		{"username,email\nann,x\n", semicolon, "separated by a comma", 1, ',', false},
		{"sep=;\nusername;email\nann;x\n", store.ImportOptions{}, "remove the line", 1, ';', false},
		{"username,email,nick\n" + strings.Repeat("ann,x,n\n", 9), store.ImportOptions{}, `the header has an unknown column "nick": known columns are id, username, email`, 1, 0, true},
		{",username,email\n0,ann,x\n", store.ImportOptions{}, "a column without a name", 1, 0, true},
		{"username,email,Email\n", store.ImportOptions{}, "has the column email twice", 1, 0, false},
		{"username,email, Username\n", ignore, "has the column username twice", 1, 0, false},
		{strings.Repeat(`{"username":"ann","email":"x","nick":"n"}`+"\n", 9), store.ImportOptions{}, `the object has an unknown member "nick": known members are id, username, email`, 1, 0, true},
		{`{"username":"ann","email":"x"}` + "\n" + strings.Repeat(`{"username":"bob","email":"x","Age":1}`+"\n", 9), store.ImportOptions{}, `the object has an unknown member "Age"`, 2, 0, true},
	} {
		rejected := 0
		c.o.Rejected = func(store.Reject) error { rejected++; return nil }
		res, err := run(c.input, c.o)
		wrong := (*store.ColumnError)(nil)
		if !errors.Is(err, store.ErrInput) || !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.says) || wrong.Line != c.line || wrong.Delimiter != c.delimiter || wrong.Unknown != c.unknown {
			t.Errorf("%q: %v, %+v", c.input, err, wrong)
		}
		if n := d.Count(t, "SELECT count(*) FROM users"); n != 0 || rejected != 0 || res.Rows != 0 {
			t.Errorf("%q: %d users, %d rejects, %+v", c.input, n, rejected, res)
		}
	}
	for _, c := range []byte("a0\"\n-._\x00é") {
		if _, err := run(threeRows, store.ImportOptions{Delimiter: c}); c != 0 && (err == nil || errors.Is(err, store.ErrInput)) {
			t.Errorf("delimiter %q: %v", c, err)
		}
	}
}

// TestImport_UnknownLate has an unknown member after a chunk was stored. The rest is imported
// once the member is removed or ignored, and no row is stored twice.
func TestImport_UnknownLate(t *testing.T) {
	t.Parallel()
	for _, mended := range []bool{true, false} {
		d := storetest.New(t)
		author := d.CreateUser(t)
		row := func(more string) string {
			return fmt.Sprintf(`{"user_id":%d,"title":"t","content":"x"%s}`+"\n", author.ID, more)
		}
		o := store.ImportOptions{}.WithChunk(2)
		input := strings.Repeat(row(""), 5) + row(`,"nick":1`) + row("")
		res, err := d.Store.ImportPosts(t.Context(), strings.NewReader(input), o)
		if !errors.Is(err, store.ErrInput) || !strings.Contains(err.Error(), "line 6: the object has an unknown member") || res.Inserted != 4 {
			t.Errorf("%+v, %v", res, err)
		}
		if mended {
			input = strings.Replace(input, `,"nick":1`, "", 1)
		} else {
			o.IgnoreUnknown = true
		}
		res, err = d.Store.ImportPosts(t.Context(), strings.NewReader(input), o)
		if n := d.Count(t, "SELECT count(*) FROM posts"); err != nil || res.Resumed != 4 || res.Inserted != 3 || n != 7 {
			t.Errorf("mended %t: %+v, %v, %d posts, want 7", mended, res, err, n)
		}
	}
}

// TestImport_AllRejected checks that an import fails if none of its rows can be stored. It does
// not fail if some rows were stored, or existed already.
func TestImport_AllRejected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		input string
		o     store.ImportOptions
		fails bool
	}{
		{"username,email\n,a\nbob,\n", store.ImportOptions{}, true},
		{"username,email\n,a\nbob,\n", store.ImportOptions{MaxRejects: new(int64(5))}, true},
		{"username,email\nexists,a\n", store.ImportOptions{}, true},
		{"not json\nnor this\n", store.ImportOptions{Format: store.FormatNDJSON}, true},
		{"{\n\"username\": \"ann\",\n\"email\": \"x\"\n}\n", store.ImportOptions{}, true},
		{`{"email":"x"}` + "\n", store.ImportOptions{}, true},
		{"username,email\n,a\nbob,x\n", store.ImportOptions{}, false},
		{"username,email\nexists,a\n,b\n", store.ImportOptions{OnConflict: store.ConflictSkip}, false},
		{"username,email\nexists,x\n,b\n", store.ImportOptions{OnConflict: store.ConflictUpdate}, false},
		{"username,email\n", store.ImportOptions{}, false},
	} {
		d := storetest.New(t)
		d.Exec(t, "INSERT INTO users (username, email) VALUES ('exists', 'x')")
		// The second import knows nothing of the first one if that stored nothing.
		for range 2 {
			var told int64
			c.o.Rejected = func(store.Reject) error { told++; return nil }
			res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(c.input), c.o)
			if errors.Is(err, store.ErrRejected) != c.fails || err != nil && !c.fails {
				t.Fatalf("%q: %+v, %v", c.input, res, err)
			}
			if c.fails && (res.Rejected != res.Rows || told != res.Rows || !strings.Contains(err.Error(), fmt.Sprintf("%d of %[1]d rows were rejected", res.Rows))) {
				t.Errorf("%q: %+v, %d told of, %v", c.input, res, told, err)
			}
		}
	}
}

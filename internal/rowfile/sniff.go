package rowfile

import (
	"bytes"
	"fmt"
)

const (
	// sniffed is how many bytes of an input are inspected to detect its format. Every header
	// is longer.
	sniffed = 16

	// tarMagic is the offset of the magic number in a tar archive (POSIX, pax).
	tarMagic = 257
)

// foreign are unsupported formats and their first bytes.
var foreign = []struct {
	magic, what, hint string
	text              bool // the whole file may be text
}{
	{"PK\x03\x04", "a zip archive, such as an .xlsx or .ods file", "unzip it, or save the sheet as CSV", false},
	{"PK\x05\x06", "an empty zip archive", "check how the file was made", false},
	{"\x28\xb5\x2f\xfd", "compressed by zstd", "decompress it with zstd -d, or compress it with gzip", false},
	{"\xfd7zXZ\x00", "compressed by xz", "decompress it with xz -d, or compress it with gzip", false},
	{"BZh", "compressed by bzip2", "decompress it with bzip2 -d, or compress it with gzip", false},
	{"\x04\x22\x4d\x18", "compressed by lz4", "decompress it with lz4 -d, or compress it with gzip", false},
	{"LZIP", "compressed by lzip", "decompress it with lzip -d, or compress it with gzip", false},
	{"\x1f\x9d", "compressed by compress", "decompress it with uncompress, or compress it with gzip", false},
	{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "extract it first", false},
	{"Rar!\x1a\x07", "a RAR archive", "extract it first", false},
	{"PAR1", "a Parquet file", "convert it to CSV or NDJSON, for example with DuckDB or pandas", false},
	{"ORC", "an ORC file", "convert it to CSV or NDJSON", false},
	{"Obj\x01", "an Avro file", "convert it to NDJSON", false},
	{"ARROW1", "an Arrow file", "convert it to CSV or NDJSON, for example with DuckDB or pandas", false},
	{"FEA1", "a Feather file", "convert it to CSV or NDJSON, for example with pandas", false},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document, such as an .xls file", "save the sheet as CSV", false},
	{"SQLite format 3\x00", "an SQLite database", "export the table as CSV with sqlite3 -csv -header", false},
	{"PGDMP", "an archive of pg_dump", "restore it with pg_restore, or export the table with \\copy … csv header", false},
	{"PGCOPY\n\xff\r\n\x00", "PostgreSQL's binary COPY format", "export the table with \\copy … csv header", false},
	{"%PDF-", "a PDF document", "export the table as CSV", true},
	{"{\\rtf", "an RTF document", "export the table as CSV", true},
	{"\x89PNG", "a PNG image", "send CSV or NDJSON", false},
	{"\xff\xfe\x00\x00", "UTF-32", "convert it to UTF-8 with iconv -f UTF-32 -t UTF-8", false},
	{"\x00\x00\xfe\xff", "UTF-32", "convert it to UTF-8 with iconv -f UTF-32 -t UTF-8", false},
	{"\xff\xfe", "UTF-16", utf16Hint, false},
	{"\xfe\xff", "UTF-16", utf16Hint, false},
}

const utf16Hint = "convert it to UTF-8 with iconv -f UTF-16 -t UTF-8"

// refuseForeign returns an error that names the format if the input starts like an
// unsupported one. Read as CSV or NDJSON, each of its lines would be rejected for another
// reason.
func refuseForeign(start []byte) error {
	refuse := func(what, hint string) error { return fmt.Errorf("%w: it is %s: %s", ErrInput, what, hint) }
	for _, f := range foreign {
		// The name of a column may begin with the same letters as a format.
		if bytes.HasPrefix(start, []byte(f.magic)) && (!isText([]byte(f.magic)) || f.text || !isText(start[:min(len(start), 4*sniffed)])) {
			return refuse(f.what, f.hint)
		}
	}
	if len(start) >= tarMagic+5 && string(start[tarMagic:tarMagic+5]) == "ustar" {
		return refuse("a tar archive", "extract it first")
	}
	// A row may contain a NUL, but a header may not.
	start, _, _ = bytes.Cut(start[:min(len(start), sniffed)], []byte{'\n'})
	if bytes.IndexByte(start, 0) < 0 {
		return nil
	}
	// In UTF-16, every other byte of ASCII text is NUL.
	switch zero := func(i int) bool { return i >= len(start) || start[i] == 0 }; {
	case len(start) < 2:
	case !zero(0) && zero(1) && zero(2) && zero(3) && len(start) > 3, zero(0) && zero(1) && zero(2) && !zero(3):
		return refuse("UTF-32", "convert it to UTF-8 with iconv -f UTF-32 -t UTF-8")
	case !zero(0) && zero(1) && zero(3) && zero(5):
		return refuse("UTF-16 without a byte order mark", "convert it to UTF-8 with iconv -f UTF-16LE -t UTF-8")
	case zero(0) && !zero(1) && zero(2) && zero(4):
		return refuse("UTF-16 without a byte order mark", "convert it to UTF-8 with iconv -f UTF-16BE -t UTF-8")
	}
	return refuse("binary", "send CSV or NDJSON, gzipped or not")
}

// isText reports whether bytes are printable ASCII and white space.
func isText(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r > '~' })
}

// refuseMarkup returns an error if the first character of the input is not possible in CSV
// or NDJSON.
func refuseMarkup(first byte) error {
	switch first {
	case '[':
		return fmt.Errorf("%w: %w: write one object per line, for example with jq -c '.[]'", ErrInput, ErrArray)
	case '<':
		return fmt.Errorf("%w: it is HTML or XML, perhaps the error page of a download: check where it came from", ErrInput)
	}
	return nil
}

// endsInCR reports whether the first line ends in a carriage return only, as written by
// old spreadsheet programs.
func (s *source) endsInCR() bool {
	for looked := 0; ; {
		text := s.buf[s.from:]
		if i := bytes.IndexAny(text[looked:], "\r\n"); i >= 0 {
			if i += looked; text[i] == '\n' {
				return false
			}
			if len(text) > i+1 || !s.fill() {
				return len(text) > i+1 && text[i+1] != '\n' && text[i+1] != '\r'
			}
			continue
		}
		looked = len(text)
		if looked > readSize || !s.fill() {
			return false
		}
	}
}

var errCR = fmt.Errorf(`%w: its lines end in CR only: convert them with tr '\r' '\n'`, ErrInput)

package rowfile

import (
	"bytes"
	"fmt"
)

const (
	// sniffed is how many bytes of an input are looked at to see what it is. Every
	// header is longer.
	sniffed = 16

	// tarMagic is where a tar archive says that it is one (POSIX, pax).
	tarMagic = 257
)

// foreign are formats that an import does not take, by their first bytes.
var foreign = []struct {
	magic, what, hint string
	text              bool // all of it may be
}{
	{"PK\x03\x04", "a zip archive, as .xlsx and .ods files are", "unzip it, or save the sheet as CSV", false},
	{"PK\x05\x06", "an empty zip archive", "check how the file was made", false},
	{"\x28\xb5\x2f\xfd", "compressed by zstd", "decompress it, as zstd -d does, or compress it by gzip", false},
	{"\xfd7zXZ\x00", "compressed by xz", "decompress it, as xz -d does, or compress it by gzip", false},
	{"BZh", "compressed by bzip2", "decompress it, as bzip2 -d does, or compress it by gzip", false},
	{"\x04\x22\x4d\x18", "compressed by lz4", "decompress it, as lz4 -d does, or compress it by gzip", false},
	{"LZIP", "compressed by lzip", "decompress it, as lzip -d does, or compress it by gzip", false},
	{"\x1f\x9d", "compressed by compress", "decompress it, as uncompress does, or compress it by gzip", false},
	{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "extract it first", false},
	{"Rar!\x1a\x07", "a RAR archive", "extract it first", false},
	{"PAR1", "a Parquet file", "convert it to CSV or NDJSON, as DuckDB and pandas do", false},
	{"ORC", "an ORC file", "convert it to CSV or NDJSON", false},
	{"Obj\x01", "an Avro file", "convert it to NDJSON", false},
	{"ARROW1", "an Arrow file", "convert it to CSV or NDJSON, as DuckDB and pandas do", false},
	{"FEA1", "a Feather file", "convert it to CSV or NDJSON, as pandas does", false},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document, as .xls files are", "save the sheet as CSV", false},
	{"SQLite format 3\x00", "an SQLite database", "export the table as CSV, as sqlite3 -csv -header does", false},
	{"PGDMP", "an archive of pg_dump", "restore it with pg_restore, or export the table with \\copy … csv header", false},
	{"PGCOPY\n\xff\r\n\x00", "PostgreSQL's binary COPY format", "export the table with \\copy … csv header", false},
	{"%PDF-", "a PDF document", "export the table as CSV", true},
	{"{\\rtf", "an RTF document", "export the table as CSV", true},
	{"\x89PNG", "a PNG image", "send CSV or NDJSON", false},
	{"\xff\xfe\x00\x00", "UTF-32", "convert it to UTF-8, as iconv -f UTF-32 -t UTF-8 does", false},
	{"\x00\x00\xfe\xff", "UTF-32", "convert it to UTF-8, as iconv -f UTF-32 -t UTF-8 does", false},
	{"\xff\xfe", "UTF-16", utf16Hint, false},
	{"\xfe\xff", "UTF-16", utf16Hint, false},
}

const utf16Hint = "convert it to UTF-8, as iconv -f UTF-16 -t UTF-8 does"

// refuseForeign returns an error if the input, which starts so, is in a format that an
// import does not take. The error says which. As CSV or NDJSON, each of its lines would be
// rejected for another reason.
func refuseForeign(start []byte) error {
	refuse := func(what, hint string) error { return fmt.Errorf("%w: it is %s: %s", ErrInput, what, hint) }
	for _, f := range foreign {
		// The name of a column may begin as letters do that are a format's.
		if bytes.HasPrefix(start, []byte(f.magic)) && (!isText([]byte(f.magic)) || f.text || !isText(start[:min(len(start), 4*sniffed)])) {
			return refuse(f.what, f.hint)
		}
	}
	if len(start) >= tarMagic+5 && string(start[tarMagic:tarMagic+5]) == "ustar" {
		return refuse("a tar archive", "extract it first")
	}
	// A row may have a NUL, a header not.
	start, _, _ = bytes.Cut(start[:min(len(start), sniffed)], []byte{'\n'})
	if bytes.IndexByte(start, 0) < 0 {
		return nil
	}
	// ASCII in UTF-16 has a NUL in every other byte.
	switch zero := func(i int) bool { return i >= len(start) || start[i] == 0 }; {
	case len(start) < 2:
	case !zero(0) && zero(1) && zero(2) && zero(3) && len(start) > 3, zero(0) && zero(1) && zero(2) && !zero(3):
		return refuse("UTF-32", "convert it to UTF-8, as iconv -f UTF-32 -t UTF-8 does")
	case !zero(0) && zero(1) && zero(3) && zero(5):
		return refuse("UTF-16 without a byte order mark", "convert it to UTF-8, as iconv -f UTF-16LE -t UTF-8 does")
	case zero(0) && !zero(1) && zero(2) && zero(4):
		return refuse("UTF-16 without a byte order mark", "convert it to UTF-8, as iconv -f UTF-16BE -t UTF-8 does")
	}
	return refuse("binary", "send CSV or NDJSON, gzipped or not")
}

// isText reports whether bytes are printable ASCII and white space.
func isText(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r > '~' })
}

// refuseMarkup returns an error if the first character of the input shows that it is
// neither CSV nor NDJSON.
func refuseMarkup(first byte) error {
	switch first {
	case '[':
		return fmt.Errorf("%w: %w: write one object a line, as jq -c '.[]' does", ErrInput, ErrArray)
	case '<':
		return fmt.Errorf("%w: it is HTML or XML, perhaps the error page of a download: check where it came from", ErrInput)
	}
	return nil
}

// endsInCR reports whether the first line ends in a carriage return alone, as old
// spreadsheets write it.
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

var errCR = fmt.Errorf(`%w: its lines end in CR alone: convert them, as tr '\r' '\n' does`, ErrInput)

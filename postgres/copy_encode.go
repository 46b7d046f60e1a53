package postgres

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/wire"
)

// pointerSource is a source of rows that also returns pointers to the values of the current
// row. Generated code is one. Values converts each value to an interface, which allocates,
// and pgx then chooses the encoding of each value again. That takes three times as long.
type pointerSource interface {
	pgx.CopyFromSource
	Pointers(to []any) []any
}

// copyEncoder encodes rows for a binary COPY (PostgreSQL manual, COPY, Binary Format).
type copyEncoder struct {
	rows   pointerSource
	source *copySource
	append []wire.AppendCopy // for each column
	row    []any             // pointers to the values of a row
	more   bool              // there is a current row, which is not encoded yet
	buf    []byte
	from   int // buf[from:] is not read yet
	ended  bool

	mu     sync.Mutex
	closed bool
}

// copyHeader is the signature, no flags and no extension.
const copyHeader = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// copyBuffer is larger than what one read of pgx takes, 64 KiB, by some rows.
const copyBuffer = 72 << 10

// newCopyEncoder returns the encoder for a source, or nil if pgx must encode its rows. It
// requests the first row, because there are no pointers without a row.
func newCopyEncoder(source *copySource) *copyEncoder {
	rows, ok := source.rows.(pointerSource)
	if !ok || !source.Next() {
		return nil
	}
	return &copyEncoder{rows: rows, source: source, more: true, row: rows.Pointers(nil)}
}

// knows reports whether it can encode the rows for columns of the given types.
func (e *copyEncoder) knows(fields []pgconn.FieldDescription) bool {
	if len(fields) != len(e.row) {
		return false
	}
	for i, p := range e.row {
		add := wire.CopyAppender(fields[i].DataTypeOID, p)
		if add == nil {
			return false
		}
		e.append = append(e.append, add)
	}
	e.buf = append(make([]byte, 0, copyBuffer), copyHeader...)
	return true
}

// close waits for a running Read, and ends later ones without touching the rows. If a
// connection breaks, pgconn returns while its goroutine may still read.
func (e *copyEncoder) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
}

// Read reads the encoded rows.
func (e *copyEncoder) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return 0, io.ErrClosedPipe
	}
	e.buf = e.buf[:copy(e.buf, e.buf[e.from:])]
	e.from = 0
	if e.more && len(e.buf) < len(p) && e.source.stopped() {
		return 0, e.source.err
	}
	for e.more && len(e.buf) < len(p) {
		e.row = e.rows.Pointers(e.row[:0])
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(len(e.append)))
		for i, p := range e.row {
			e.buf = e.append[i](e.buf, p)
		}
		e.more = e.rows.Next()
	}
	if !e.more && !e.ended {
		if err := e.source.Err(); err != nil {
			return 0, err
		}
		e.ended = true
		e.buf = append(e.buf, 0xff, 0xff) // the trailer
	}
	e.from = copy(p, e.buf)
	if e.from == 0 {
		return 0, io.EOF
	}
	return e.from, nil
}

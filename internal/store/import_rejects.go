package store

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// keptReject is the largest buffer for a rejected row that is kept for the next one. A row may
// have 8 MiB, and escaping can multiply that by six.
const keptReject = 64 << 10

// RejectFile is a temporary file with the rejected rows of an import, as NDJSON that can be
// corrected and imported. It counts towards the limit of temporary files. It is not safe for
// concurrent use, and must be closed.
type RejectFile struct {
	file *spoolFile
	line []byte
}

// NewRejectFile returns an empty file, or ErrNoSpool.
func (s *Store) NewRejectFile() (*RejectFile, error) {
	file, err := newSpoolFile(&s.limits.spool)
	if err != nil {
		return nil, err
	}
	return &RejectFile{file: file}, nil
}

// Add adds a row. It is meant for ImportOptions.Rejected. Its error is ErrNoSpool if the limit is
// reached or the disk is full.
func (f *RejectFile) Add(r Reject) error {
	f.line = r.AppendNDJSON(f.line[:0])
	_, err := f.file.Write(f.line)
	if cap(f.line) > keptReject {
		f.line = nil
	}
	if errors.Is(err, ErrInputTooLarge) {
		return fmt.Errorf("%w: the rejected rows need more than IMPORT_SPOOL", ErrNoSpool)
	}
	return err
}

// WriteTo writes all rows to w.
func (f *RejectFile) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, io.NewSectionReader(f.file.file, 0, math.MaxInt64))
}

// Close removes the file.
func (f *RejectFile) Close() { f.file.close() }

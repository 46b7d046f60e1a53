package rowfile

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

const (
	// maxRecord bounds what is held of one record. A post that the API took in
	// 1 MiB can come to six times that, each character escaped.
	maxRecord = 8 << 20

	// smallBuffer is how large the buffer grows without asking Options.Grow.
	smallBuffer = 512 << 10

	// readSize is how much is read at a time.
	readSize = 64 << 10

	// shownOfRaw is how much of a record that is too long is reported.
	shownOfRaw = 1 << 10
)

// source reads an input once and cuts it into lines and records.
type source struct {
	r    io.Reader
	gzip *gunzip      // nil: it is not packed
	grow func() error // asked before a record takes much memory
	buf  []byte
	from int   // buf[from:] is read and not taken
	line int64 // the number of the line at from, counted from 1
	err  error // why no more can be read: io.EOF at the end
	full error // why there is no room for more
}

// newSource starts reading r. It tells by the first bytes what the input is: gzip is
// unpacked, a byte order mark is passed over, and a format that an import does not take is
// refused by its name.
func newSource(r io.Reader, grow func() error) (*source, error) {
	buffered := bufio.NewReaderSize(r, readSize)
	r = buffered
	var unpacked *gunzip
	if magic, _ := buffered.Peek(len(gzipMagic)); bytes.Equal(magic, gzipMagic) {
		var err error
		if unpacked, err = newGunzip(buffered); err != nil {
			return nil, err
		}
		r = unpacked
	}
	s := &source{r: r, gzip: unpacked, grow: grow, line: 1}
	if _, err := s.peek(sniffed); err != nil {
		return nil, err
	}
	start := s.buf[s.from:]
	if unpacked != nil && bytes.HasPrefix(start, gzipMagic) {
		return nil, fmt.Errorf("%w: it is gzipped twice: decompress it once", ErrInput)
	}
	if err := refuseForeign(start); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(start, []byte("\xef\xbb\xbf")) {
		s.from += 3
	}
	return s, nil
}

// fill reads more, and reports whether there was any.
func (s *source) fill() bool {
	if s.err != nil || s.full != nil {
		return false
	}
	if s.from > 0 && (s.from == len(s.buf) || cap(s.buf)-len(s.buf) < readSize) {
		s.buf = s.buf[:copy(s.buf, s.buf[s.from:])]
		s.from = 0
	}
	if cap(s.buf)-len(s.buf) < readSize {
		size := min(2*cap(s.buf)+readSize, maxRecord+2*readSize)
		if size > smallBuffer && s.grow != nil {
			if s.full = s.grow(); s.full != nil {
				return false
			}
		}
		grown := make([]byte, len(s.buf), size)
		copy(grown, s.buf)
		s.buf = grown
	}
	for range 100 {
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		if err != nil {
			s.err = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// shrink gives up a buffer that a long record has made large, and reports
// whether it could: there may be more than a small one holds.
func (s *source) shrink() bool {
	if len(s.buf)-s.from > smallBuffer-readSize {
		return false
	}
	s.buf = append(make([]byte, 0, max(len(s.buf)-s.from, readSize)), s.buf[s.from:]...)
	s.from = 0
	return true
}

// failed returns the error that ended the input, nil at its regular end.
func (s *source) failed() error {
	if s.full != nil {
		return s.full
	}
	if s.err == nil || s.err == io.EOF {
		return nil
	}
	return Unreadable(s.err)
}

// peek returns the next n bytes, or fewer at the end.
func (s *source) peek(n int) ([]byte, error) {
	for len(s.buf)-s.from < n && s.fill() {
	}
	if len(s.buf)-s.from < n && s.failed() != nil {
		return nil, s.failed()
	}
	return s.buf[s.from:min(len(s.buf), s.from+n)], nil
}

// atEnd reports whether there is nothing more.
func (s *source) atEnd() (bool, error) {
	next, err := s.peek(1)
	return len(next) == 0, err
}

// take steps over the next n bytes, which hold that many ends of lines.
func (s *source) take(n int, lines int64) {
	s.from += n
	s.line += lines
}

// endOfLine returns where the line that starts offset bytes ahead ends, its
// end included; at the end of the input a line needs none. It is -1 when the
// line goes beyond maxRecord.
func (s *source) endOfLine(offset int) (int, error) {
	looked := offset
	for {
		if i := bytes.IndexByte(s.buf[s.from+looked:], '\n'); i >= 0 {
			if looked+i >= maxRecord {
				return -1, nil
			}
			return looked + i + 1, nil
		}
		looked = len(s.buf) - s.from
		if looked > maxRecord {
			return -1, nil
		}
		if !s.fill() {
			return looked, s.failed()
		}
	}
}

// skipLine steps over a line that is too long to be held, and returns how it
// starts.
func (s *source) skipLine() (start []byte, err error) {
	start = bytes.Clone(s.buf[s.from:min(len(s.buf), s.from+shownOfRaw)])
	for {
		if i := bytes.IndexByte(s.buf[s.from:], '\n'); i >= 0 {
			s.take(i+1, 1)
			return start, nil
		}
		s.take(len(s.buf)-s.from, 0)
		if !s.fill() {
			return start, s.failed()
		}
	}
}

// withoutEnd cuts the end of a line off. A carriage return alone ends the last
// line of the input, too.
func withoutEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

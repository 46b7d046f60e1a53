package rowfile

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

const (
	// maxRecord bounds the size of one record. A post that fits the API's limit of 1
	// MiB can be six times as large with every character escaped.
	maxRecord = 8 << 20

	// smallBuffer is the buffer size above which Options.Grow is called.
	smallBuffer = 512 << 10

	// readSize is the size of one read.
	readSize = 64 << 10

	// shownOfRaw is how much of a record is reported if it is too long.
	shownOfRaw = 1 << 10
)

// source reads an input once and splits it into lines and records.
type source struct {
	r    io.Reader
	gzip *gunzip      // nil if the input is not compressed
	grow func() error // called before a record takes much memory
	buf  []byte
	from int   // buf[from:] is read but not yet consumed
	line int64 // the number of the line at from, counted from 1
	err  error // why no more can be read; io.EOF at the end
	full error // why grow refused more memory
}

// newSource starts to read r. It looks at the first bytes of the input. It
// decompresses gzip, skips a byte order mark, and refuses an unsupported format with
// an error that names it.
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

// fill reads more input and reports whether there was any.
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

// shrink releases a buffer that a long record has enlarged. It returns false if a
// small buffer could not hold the rest.
func (s *source) shrink() bool {
	if len(s.buf)-s.from > smallBuffer-readSize {
		return false
	}
	s.buf = append(make([]byte, 0, max(len(s.buf)-s.from, readSize)), s.buf[s.from:]...)
	s.from = 0
	return true
}

// failed returns the error that ended the input, or nil at its regular end.
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

// atEnd reports whether the whole input was consumed.
func (s *source) atEnd() (bool, error) {
	next, err := s.peek(1)
	return len(next) == 0, err
}

// take consumes the next n bytes, which contain the given number of line ends.
func (s *source) take(n int, lines int64) {
	s.from += n
	s.line += lines
}

// endOfLine returns the end, including its line end, of the line that starts offset
// bytes ahead. The last line of the input needs no line end. It returns -1 if the
// line exceeds maxRecord.
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

// skipLine skips a line that is too long for the buffer, and returns its start.
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

// withoutEnd removes the line end. The last line of the input may also end in a
// carriage return only.
func withoutEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'})
}

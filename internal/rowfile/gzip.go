package rowfile

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// gzipMagic begins every gzip member (RFC 1952, section 2.3.1).
var gzipMagic = []byte{0x1f, 0x8b}

// errTrailing means that other bytes follow the gzip data of an input.
var errTrailing = fmt.Errorf("%w: its gzip data is followed by other bytes, so rows may be missing: check that the file is complete, and compress it again", ErrInput)

// gunzip decompresses consecutive gzip members. If other bytes follow the last
// member, compress/gzip returns an error together with that member's data, so
// its rows would be lost. Here the data ends normally and trailing has the
// error. Zero bytes are not an error, because tapes and block devices pad with
// them.
type gunzip struct {
	packed   *bufio.Reader
	member   *gzip.Reader
	trailing error // reported after the end
}

func newGunzip(packed *bufio.Reader) (*gunzip, error) {
	member, err := gzip.NewReader(packed)
	if err != nil {
		return nil, Unreadable(err)
	}
	member.Multistream(false)
	return &gunzip{packed: packed, member: member}, nil
}

func (g *gunzip) Read(p []byte) (n int, err error) {
	n, err = g.member.Read(p)
	switch corrupt := flate.CorruptInputError(0); {
	case err == io.EOF:
		return n, g.nextMember()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("%w: its gzip data is truncated, so rows are missing: get the complete file: %w", ErrInput, err)
	case errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return n, fmt.Errorf("%w: its gzip data is damaged: get the file again: %w", ErrInput, err)
	}
	return n, err
}

// nextMember continues with the next member. It returns io.EOF if there is none.
func (g *gunzip) nextMember() error {
	start, err := g.packed.Peek(len(gzipMagic))
	if len(start) == 0 {
		return err
	}
	if bytes.Equal(start, gzipMagic) {
		err := g.member.Reset(g.packed)
		if errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			g.trailing = errTrailing
			return io.EOF
		}
		g.member.Multistream(false)
		return err
	}
	for {
		c, err := g.packed.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			g.trailing = errTrailing
			return io.EOF
		}
	}
}

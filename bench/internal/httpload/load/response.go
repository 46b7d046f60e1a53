package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// readResponse reads one HTTP/1.1 response and appends its body to dst. It
// supports the responses of the measured servers: a length or chunks (RFC 9112,
// sections 6 and 7), no trailers, and a connection that stays open.
func readResponse(r *bufio.Reader, dst []byte) (status int, body []byte, err error) {
	line, err := readLine(r)
	if err != nil {
		return 0, dst, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, dst, fmt.Errorf("not a status line: %.100q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, dst, fmt.Errorf("not a status line: %.100q", line)
	}
	length, chunked, err := readHeader(r)
	switch {
	case err != nil:
		return status, dst, err
	case chunked:
		body, err = readChunks(r, dst)
	case length >= 0:
		body, err = readBytes(r, dst, length)
	default:
		return status, dst, errors.New("a response without a length")
	}
	return status, body, err
}

// readHeader reads the header and returns the length of the body, or -1.
func readHeader(r *bufio.Reader) (length int, chunked bool, err error) {
	for length = -1; ; {
		line, err := readLine(r)
		if err != nil || len(line) == 0 {
			return length, chunked, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "content-length"):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return -1, false, fmt.Errorf("not a length: %.100q", line)
			}
		case is(name, "transfer-encoding"):
			chunked = is(value, "chunked")
		case is(name, "connection") && is(value, "close"):
			return -1, false, errors.New("the server closes the connection")
		}
	}
}

// is compares ASCII case-insensitively.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func readChunks(r *bufio.Reader, dst []byte) ([]byte, error) {
	for {
		line, err := readLine(r)
		if err != nil {
			return dst, err
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return dst, fmt.Errorf("not the size of a chunk: %.100q", line)
		}
		if dst, err = readBytes(r, dst, int(size)); err != nil {
			return dst, err
		}
		if line, err = readLine(r); err != nil || len(line) > 0 {
			return dst, errors.Join(err, errors.New("no line break after a chunk"))
		}
		if size == 0 {
			return dst, nil
		}
	}
}

// readBytes appends n bytes to dst.
func readBytes(r *bufio.Reader, dst []byte, n int) ([]byte, error) {
	start := len(dst)
	if cap(dst)-start < n {
		dst = append(dst, make([]byte, n)...)
	}
	dst = dst[:start+n]
	_, err := io.ReadFull(r, dst[start:])
	return dst, err
}

// readLine returns the next line without its end. It is valid until the next
// read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

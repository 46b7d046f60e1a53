package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"quern/internal/store"
)

// A cursor is the key of an item of a list, for the page behind or before it.
// To clients it is opaque. It is, in base64url: a version byte, each key as a
// varint, and a checksum over those and over the list with its filters. The
// checksum catches accidents, such as another list's cursor, and is no secret:
// a cursor says nothing that could not be asked for otherwise.
const (
	cursorVersion = 1
	cursorSum     = 8
)

var cursorEncoding = base64.RawURLEncoding

// encodeCursor returns the cursor of an item of the given list.
func encodeCursor(list string, keys ...int64) string {
	raw := []byte{cursorVersion}
	for _, key := range keys {
		raw = binary.AppendVarint(raw, key)
	}
	return cursorEncoding.EncodeToString(append(raw, cursorChecksum(list, raw)...))
}

// decodeCursor reads the keys of a cursor of the given list.
func decodeCursor(list, cursor string, keys ...*int64) error {
	raw, err := cursorEncoding.DecodeString(cursor)
	// The decoder forgives line ends and stray bits: one cursor, one spelling.
	if err != nil || cursorEncoding.EncodeToString(raw) != cursor {
		return newProblem(codeInvalidCursor)
	}
	if len(raw) < 1+cursorSum || raw[0] != cursorVersion {
		return newProblem(codeInvalidCursor)
	}
	raw, sum := raw[:len(raw)-cursorSum], raw[len(raw)-cursorSum:]
	if !bytes.Equal(sum, cursorChecksum(list, raw)) {
		return newProblem(codeInvalidCursor)
	}
	raw = raw[1:]
	for _, key := range keys {
		value, n := binary.Varint(raw)
		if n <= 0 {
			return newProblem(codeInvalidCursor)
		}
		*key = value
		raw = raw[n:]
	}
	if len(raw) > 0 {
		return newProblem(codeInvalidCursor)
	}
	return nil
}

func cursorChecksum(list string, raw []byte) []byte {
	h := sha256.New()
	h.Write([]byte(list))
	h.Write([]byte{0}) // which no list has
	h.Write(raw)
	return h.Sum(nil)[:cursorSum]
}

// request turns the parameters of a list of ids into what the store takes.
func (p *Paging) request(list string) (store.PageRequest, error) {
	r := store.PageRequest{Limit: p.Limit}
	for _, side := range []struct {
		cursor string
		key    **int64
	}{{p.After, &r.After}, {p.Before, &r.Before}} {
		if side.cursor == "" {
			continue
		}
		*side.key = new(int64)
		if err := decodeCursor(list, side.cursor, *side.key); err != nil {
			return r, err
		}
	}
	return r, nil
}

// idCursor returns the cursor of an id of the given list, nil for none.
func idCursor(list string, id *int64) *string {
	if id == nil {
		return nil
	}
	return new(encodeCursor(list, *id))
}

package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// A cursor is the key of an item of a list, for the page behind or before it.
// To clients it is opaque. It is, in base64url: a version byte, each part of the key
// (an integer as a varint, any other as JSON with its length before it), and a
// checksum over those and over the list with its filters. The
// checksum catches accidents, such as another list's cursor, and is no secret:
// a cursor says nothing that could not be asked for otherwise.
const (
	cursorVersion = 1
	cursorSum     = 8
)

var cursorEncoding = base64.RawURLEncoding

// encodeCursor returns the cursor of an item of the given list.
func encodeCursor[K any](list string, keys ...K) string {
	raw := []byte{cursorVersion}
	for _, key := range keys {
		if n, ok := any(key).(int64); ok {
			raw = binary.AppendVarint(raw, n)
			continue
		}
		text, err := json.Marshal(key)
		if err != nil {
			panic(fmt.Errorf("encode a cursor of %s: %w", list, err)) // no key of ours is not JSON
		}
		raw = append(binary.AppendUvarint(raw, uint64(len(text))), text...)
	}
	return cursorEncoding.EncodeToString(append(raw, cursorChecksum(list, raw)...))
}

// decodeCursor reads the keys of a cursor of the given list.
func decodeCursor[K any](list, cursor string, keys ...*K) error {
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
		if raw = decodeKey(raw, key); raw == nil {
			return newProblem(codeInvalidCursor)
		}
	}
	if len(raw) > 0 {
		return newProblem(codeInvalidCursor)
	}
	return nil
}

// decodeKey reads a part of a key, and returns what follows it, or nil if it is none.
func decodeKey(raw []byte, key any) (rest []byte) {
	if key, ok := key.(*int64); ok {
		value, n := binary.Varint(raw)
		if n <= 0 {
			return nil
		}
		*key = value
		return raw[n:]
	}
	size, n := binary.Uvarint(raw)
	if n <= 0 || size > uint64(len(raw)-n) {
		return nil
	}
	raw = raw[n:]
	if json.Unmarshal(raw[:size], key) != nil {
		return nil
	}
	return raw[size:]
}

func cursorChecksum(list string, raw []byte) []byte {
	h := sha256.New()
	h.Write([]byte(list))
	h.Write([]byte{0}) // which no list has
	h.Write(raw)
	return h.Sum(nil)[:cursorSum]
}

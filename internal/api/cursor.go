package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// A cursor is the key of an item of a list, from which the next or previous page starts. It
// is opaque to clients. It has, in base64url: a version byte, each part of the key (an
// integer as a varint, any other as JSON preceded by its length), and a checksum over those
// and over the list with its filters. The checksum detects mistakes, such as a cursor of
// another list. It is no protection, and needs none, because a client may request every
// item anyway.
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
			panic(fmt.Errorf("encode a cursor of %s: %w", list, err)) // every key can be encoded as JSON
		}
		raw = append(binary.AppendUvarint(raw, uint64(len(text))), text...)
	}
	return cursorEncoding.EncodeToString(append(raw, cursorChecksum(list, raw)...))
}

// decodeCursor returns the key in a cursor of the given list.
func decodeCursor[K any](list, cursor string, keys ...*K) error {
	raw, err := cursorEncoding.DecodeString(cursor)
	// The decoder ignores line breaks and stray bits, but each cursor must have one
	// spelling.
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

// decodeKey decodes a part of a key and returns the rest, or nil if the part is invalid.
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
	h.Write([]byte{0}) // a byte that no name of a list contains
	h.Write(raw)
	return h.Sum(nil)[:cursorSum]
}

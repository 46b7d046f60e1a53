package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// text is a JSON text that is sent unchanged.
type text struct {
	b    []byte
	from *sync.Pool
}

// The buffers of responses are reused. Pages, which can have megabytes, have a separate
// pool from the many small responses.
var pageTexts, texts sync.Pool

// keptText is the largest buffer that is kept. A thousand users with ten posts each need
// three megabytes.
const keptText = 8 << 20

// newText returns an empty text, which returns to its pool when it is sent.
func newText(pool *sync.Pool) *text {
	t, ok := pool.Get().(*text)
	if !ok {
		t = &text{from: pool}
	}
	t.b = t.b[:0]
	return t
}

func (t *text) send(w io.Writer) error {
	_, err := w.Write(t.b)
	t.release()
	return err
}

// release returns the buffer to its pool.
func (t *text) release() {
	if cap(t.b) <= keptText {
		t.from.Put(t)
	}
}

func (t *text) complete() *text { return t }

// Write appends, for encoding/json.
func (t *text) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	return len(p), nil
}

// textOf is the body of a response. The document describes it as a T, whose JSON was
// appended to the text.
type textOf[T any] struct{ *text }

// Schema returns the schema of T.
func (textOf[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// appender is a value that appends its JSON, exactly as encoding/json would write it. Users
// and posts implement it, because they are read most: a page of 50 users takes 6 µs instead
// of 34. So do tasks, which a worker reads twice each.
type appender interface{ appendJSON(b []byte) []byte }

// bufferedBody is the length from which net/http does not hold back a body until its length
// is known (bufferBeforeChunkingSize). It adds the Content-Length of a shorter one itself,
// outside of the header's map, which would otherwise grow beyond the eight entries that it
// has room for.
const bufferedBody = 2048

// encode creates the whole body before the head of the response is sent, so that the head
// has its length. It panics if that fails, which is a bug. The panic is recovered in time
// to respond with a problem.
func encode(ctx huma.Context, status string, v any) (any, error) {
	if status == "304" {
		notModifiedTag(ctx)
		return v, nil // has no body
	}
	var t *text
	switch v := v.(type) {
	case interface{ complete() *text }:
		t = v.complete()
	default:
		t = newText(&texts)
		if err := t.value(v); err != nil {
			panic(fmt.Errorf("encode the answer of %s: %w", ctx.Operation().OperationID, err))
		}
		t.b = append(t.b, '\n')
	}
	t = t.compress(ctx)
	if len(t.b) >= bufferedBody {
		ctx.SetHeader("Content-Length", strconv.Itoa(len(t.b)))
	}
	return t, nil
}

// value appends the JSON of a value.
func (t *text) value(v any) error {
	if v, ok := v.(appender); ok {
		t.b = v.appendJSON(t.b)
		return nil
	}
	err := encodeJSON(t, v)
	t.b = bytes.TrimSuffix(t.b, []byte{'\n'})
	return err
}

var jsonFormat = huma.Format{Marshal: marshal, Unmarshal: unmarshal}

// marshal sends a body that encode has created, or one that was not encoded before.
func marshal(w io.Writer, v any) error {
	if t, ok := v.(*text); ok {
		return t.send(w)
	}
	return encodeJSON(w, v)
}

func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

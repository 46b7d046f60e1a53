package api

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/jsonfmt"
)

// text is a JSON text that is sent as it stands.
type text struct {
	b    []byte
	from *sync.Pool
}

// Buffers of answers are used again: those of pages, which can have megabytes,
// for pages, and the others for the many answers that are small.
var pageTexts, texts sync.Pool

// keptText is how large a buffer may be to be kept: a thousand users with ten
// posts each have three megabytes.
const keptText = 8 << 20

// newText returns an empty text, which goes back to its pool when it is sent.
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

// release gives the buffer back to its pool.
func (t *text) release() {
	if cap(t.b) <= keptText {
		t.from.Put(t)
	}
}

func (t *text) complete() *text { return t }

// Write lets encoding/json append.
func (t *text) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	return len(p), nil
}

// textOf is the body of an answer: to the document a T, which is what was
// appended to the text.
type textOf[T any] struct{ *text }

// Schema is that of a T.
func (textOf[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), true, "")
}

// openPage begins a page. Its items are objects.
func openPage() *text {
	t := newText(&pageTexts)
	t.b = append(t.b, `{"items":[`...)
	return t
}

// item begins the next item of a page.
func (t *text) item() []byte {
	if t.b[len(t.b)-1] == '}' {
		t.b = append(t.b, ',')
	}
	return t.b
}

// closePage ends a page with its cursors.
func (t *text) closePage(next, prev *string) {
	t.b = append(t.b, `],"next":`...)
	t.b = appendCursor(t.b, next)
	t.b = append(t.b, `,"prev":`...)
	t.b = appendCursor(t.b, prev)
	t.b = append(t.b, '}', '\n')
}

func appendCursor(b []byte, cursor *string) []byte {
	if cursor == nil {
		return append(b, "null"...)
	}
	return jsonfmt.AppendString(b, *cursor)
}

// appender is a value that appends itself as encoding/json would write it, for
// those that are asked for most.
type appender interface{ appendJSON(b []byte) []byte }

// encode makes the whole text of an answer before its head is sent, which then
// says how long it is. It panics when that fails: no value of ours should, and
// who catches it can still answer with a problem.
func encode(ctx huma.Context, status string, v any) (any, error) {
	if status == "304" {
		notModifiedTag(ctx)
		return v, nil // is sent without a body
	}
	var t *text
	switch v := v.(type) {
	case interface{ complete() *text }:
		t = v.complete()
	case appender:
		t = newText(&texts)
		t.b = append(v.appendJSON(t.b), '\n')
	default:
		t = newText(&texts)
		if err := encodeJSON(t, v); err != nil {
			panic(fmt.Errorf("encode the answer of %s: %w", ctx.Operation().OperationID, err))
		}
	}
	t = t.compress(ctx)
	ctx.SetHeader("Content-Length", strconv.Itoa(len(t.b)))
	return t, nil
}

var jsonFormat = huma.Format{Marshal: marshal, Unmarshal: unmarshal}

// marshal sends what encode made, or what never came through it.
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

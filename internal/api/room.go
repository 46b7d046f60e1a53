package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"golang.org/x/sync/semaphore"

	"quern/internal/memory"
)

const (
	// smallBody is the length up to which bodies are not counted. A thousand of them at
	// once take tens of megabytes.
	smallBody = 4 << 10

	// The memory of a body: twice its bytes while it is read, then its texts while they are
	// checked, used and sent, and the values of type any that hold them.
	readFactor  = 2
	textFactor  = 6
	valueMemory = 128

	// bodyWait is how long a body waits for memory: as long as a statement waits for a
	// connection by default.
	bodyWait = 5 * time.Second

	// maxArray is the most items that an operation accepts.
	maxArray = 10_000

	// fewValues is the number of values up to which a body is validated without counting
	// its errors first. That many errors take 16 MB.
	fewValues = 16_000

	// checkedAtOnce is the number of items up to which huma validates a list at once.
	// Errors of longer lists are counted first, because each takes a kilobyte.
	checkedAtOnce = 100
)

// room limits the memory of large bodies.
type room struct {
	bytes int64
	free  *semaphore.Weighted // first come, first served
	wait  time.Duration
}

func newRoom(bytes int64) room { return room{bytes, semaphore.NewWeighted(bytes), bodyWait} }

func (r room) enter(ctx context.Context, need int64) (leave func(), err error) {
	need = min(need, r.bytes)
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	if err := r.free.Acquire(ctx, need); err != nil {
		return nil, err
	}
	return func() { r.free.Release(need) }, nil
}

// bodyRooms limit the memory of bodies in two stages: while they are read, and while they are
// in use. A body reserves all the memory that it needs for the first stage, and then for the
// second. So bodies in use never wait for other bodies.
type bodyRooms struct {
	read, used room
	under      atomic.Int64 // number of bodies in both rooms
}

func newBodyRooms(bytes int64) *bodyRooms {
	return &bodyRooms{read: newRoom(bytes / 2), used: newRoom(bytes / 2)}
}

// largeBody reads a large body once memory for it is available, and calls next with it once
// memory for its values is available.
func (s *server) largeBody(ctx huma.Context, r *http.Request, length int64, next func()) *Problem {
	leave, err := s.bodies.read.enter(ctx.Context(), readFactor*length)
	if err != nil {
		ctx.SetHeader("Connection", "close") // the body is not read
		return overloaded()
	}
	defer leave()
	s.bodies.under.Add(1)
	defer func() {
		memory.Spent(2 * readFactor * length)
		if s.bodies.under.Add(-1) == 0 {
			memory.GiveBack()
		}
	}()
	// huma does the same before it reads a body.
	_ = ctx.SetReadDeadline(time.Now().Add(bodyReadTimeout))
	body := bytes.NewBuffer(make([]byte, 0, length+bytes.MinRead))
	if _, err := body.ReadFrom(r.Body); err != nil {
		r.Body = readBody{io.MultiReader(body, failingReader{err}), r.Body}
		next()
		return nil
	}
	shape := shapeOf(body.Bytes())
	if p := shape.tooMuch(ctx.Operation(), body.Len()); p != nil {
		return p
	}
	need := textFactor*int64(body.Len()) + valueMemory*int64(shape.values)
	leaveUsed, err := s.bodies.used.enter(ctx.Context(), need)
	if err != nil {
		return overloaded()
	}
	defer leaveUsed()
	defer func() { memory.Spent(need) }()
	if p := s.manyFaults(ctx.Operation(), body.Bytes(), shape); p != nil {
		return p
	}
	r.Body = readBody{body, r.Body}
	next()
	return nil
}

func overloaded() *Problem {
	p := newProblem(codeOverloaded)
	p.header = retryAfter(codeOverloaded)
	return p
}

// readBody is a body that was read already.
type readBody struct {
	io.Reader
	io.Closer
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// shape counts the values in a JSON text.
type shape struct {
	values  int // approximately
	top     int // items of the array, if the text is one
	longest int // items of its longest array
}

// shapeOf counts the values in a JSON text without allocating them. The result for invalid
// JSON is arbitrary.
func shapeOf(text []byte) (s shape) {
	var items []int // of the open arrays and objects; negative for an object
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '[':
			items = append(items, 1)
			s.values++
		case '{':
			items = append(items, -1)
			s.values++
		case ',':
			s.values++
			if n := len(items); n > 0 && items[n-1] > 0 {
				items[n-1]++
			}
		case ']', '}':
			if n := len(items); n > 0 {
				s.longest = max(s.longest, items[n-1])
				if n == 1 {
					s.top = max(0, items[0])
				}
				items = items[:n-1]
			}
		}
	}
	return s
}

// tooMuch rejects a list that is longer than any operation accepts before its items are
// decoded, because they take many times its length. The payload of a task may be any JSON.
func (s shape) tooMuch(op *huma.Operation, length int) *Problem {
	n := s.top
	if length > defaultMaxBody && !strings.HasPrefix(op.Path, "/v1/tasks") {
		n = s.longest
	}
	if n <= maxArray {
		return nil
	}
	return newProblem(codeInvalid, FieldError{Location: "body", Message: fmt.Sprintf(validation.MsgExpectedMaxItems, maxArray)})
}

// manyFaults rejects a body with more errors than a response lists. huma allocates an error
// for each, which can take a thousand times the memory of the body.
func (s *server) manyFaults(op *huma.Operation, body []byte, shape shape) *Problem {
	if shape.longest <= checkedAtOnce || shape.values <= fewValues {
		return nil
	}
	var v any
	// These values can be collected before huma allocates the same again.
	defer memory.Spent(valueMemory*int64(shape.values) + int64(len(body)))
	if json.Unmarshal(body, &v) != nil {
		return nil // huma will return the error
	}
	c := faultCounter{schemas: s.api.OpenAPI().Components.Schemas, path: huma.NewPathBuffer([]byte("body"), 4)}
	c.check(op.RequestBody.Content["application/json"].Schema, v)
	if len(c.res.Errors) <= maxFieldErrors {
		return nil
	}
	return fromHuma(http.StatusUnprocessableEntity, "", c.res.Errors...).(*Problem)
}

// faultCounter counts the errors in the items of long lists, until there are more than a
// response lists.
type faultCounter struct {
	schemas huma.Registry
	path    *huma.PathBuffer
	res     huma.ValidateResult
}

func (c *faultCounter) check(schema *huma.Schema, v any) {
	for schema != nil && schema.Ref != "" {
		schema = c.schemas.SchemaFromRef(schema.Ref)
	}
	if schema == nil || len(c.res.Errors) > maxFieldErrors {
		return
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if len(c.res.Errors) > maxFieldErrors {
				return
			}
			c.path.PushIndex(i)
			c.check(schema.Items, item)
			c.path.Pop()
		}
	case map[string]any:
		for name, item := range v {
			if list, ok := item.([]any); ok && len(list) > checkedAtOnce {
				c.path.Push(name)
				c.check(schema.Properties[name], item)
				c.path.Pop()
				return // huma checks the rest of the object together with this list, if the list has no fault
			}
		}
		huma.Validate(c.schemas, schema, c.path, huma.ModeWriteToServer, v, &c.res)
	default:
		huma.Validate(c.schemas, schema, c.path, huma.ModeWriteToServer, v, &c.res)
	}
}

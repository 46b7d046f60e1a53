package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quern/internal/db"
	"quern/internal/store"
)

// idempotencyKey is the header of draft-ietf-httpapi-idempotency-key-header. A
// key is compared unchanged, quotes included.
const idempotencyKey = "Idempotency-Key"

// Keyed is part of every request that writes.
type Keyed struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"visible ASCII characters" example:"8e03978e-40d5-43dd-bc93-6894a57f9324" doc:"Identifies the request, so that it takes effect once even if it is repeated. A repetition gets the response of the first request. The same key with another request is rejected. Keys are kept for at least a day."`
}

func (k *Keyed) key() string { return k.IdempotencyKey }

// Created is part of every answer to a request that created one thing.
type Created struct {
	Location string `header:"Location" doc:"The URL of the new resource."`
	Replay
}

// Replay is part of every answer to a request that writes.
type Replay struct {
	Replayed string `header:"Idempotency-Replayed" json:"-" enum:"true" doc:"Present if this is the response of an earlier request with the same Idempotency-Key."`
}

func (r *Replay) replayed() { r.Replayed = "true" }

// written is the answer to a request that writes, if it is more than one resource or
// has no ETag.
type written[T any] struct {
	Replay
	Body T
}

// deleted is the answer to a deletion.
type deleted struct{ Replay }

// once runs an operation that writes: directly if the request has no key, and
// otherwise in one transaction of the given class with its key and its answer. act
// must do all it does through its Queries, and may be called more than once.
func once[T any, P interface {
	*T
	replayed()
}](ctx context.Context, s *server, key, class string, act func(*db.Queries) (*T, error)) (*T, error) {
	sum, hashed := ctx.Value(fingerprintKey{}).(hash.Hash)
	if key == "" || !hashed {
		return act(s.Queries)
	}
	var out *T
	stored, replayed, err := s.Store.Once(ctx, store.Keyed{Key: key, Hash: sum.Sum(nil), Class: class},
		func(q *db.Queries) (response []byte, err error) {
			if out, err = act(q); err != nil {
				return nil, err
			}
			// As it is sent: a payload would otherwise come back escaped.
			var text bytes.Buffer
			err = jsonFormat.Marshal(&text, out)
			return text.Bytes(), err
		})
	if err != nil || !replayed {
		return out, err
	}
	out = new(T)
	P(out).replayed()
	return out, json.Unmarshal(stored, out)
}

type fingerprintKey struct{}

// fingerprint hashes a request that has a key while it is read: its method, its
// target, its condition and its body, byte for byte. A request that means the same
// and is written otherwise is another request.
func fingerprint(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	switch keys := r.Header.Values(idempotencyKey); {
	case len(keys) > 1:
		newProblem(codeInvalid, FieldError{Location: "header." + idempotencyKey, Message: msgDuplicate}).write(w)
		return
	case len(keys) == 1:
		sum := sha256.New()
		io.WriteString(sum, r.Method+" "+r.URL.RequestURI()+"\n")
		if match := r.Header.Get("If-Match"); match != "" {
			io.WriteString(sum, "If-Match: "+match+"\n")
		}
		r.Body = teeBody{io.TeeReader(r.Body, sum), r.Body}
		ctx = huma.WithValue(ctx, fingerprintKey{}, hash.Hash(sum))
	}
	next(ctx)
}

// teeBody is a body that is hashed while it is read.
type teeBody struct {
	io.Reader
	io.Closer
}

// retryAfter are the problems that pass by themselves, in a second or so.
func retryAfter(c code) http.Header {
	switch c {
	case codeUnavailable, codeKeyInFlight, codeImportsBusy, codeOverloaded:
		return http.Header{"Retry-After": {"1"}}
	}
	return nil
}

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

// idempotencyKey is the header of draft-ietf-httpapi-idempotency-key-header. Keys are
// compared unchanged, including quotes.
const idempotencyKey = "Idempotency-Key"

// Keyed is embedded in every request that writes.
type Keyed struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"visible ASCII characters" example:"8e03978e-40d5-43dd-bc93-6894a57f9324" doc:"Identifies the request, so that it takes effect once even if it is repeated. A repetition gets the response of the first request. The same key with another request is rejected. Keys are kept for at least a day. Each API token has its own keys."`
}

func (k *Keyed) key() string { return k.IdempotencyKey }

// Created is embedded in the response to a request that created one resource.
type Created struct {
	Location string `header:"Location" doc:"The URL of the new resource."`
	Replay
}

// Replay is embedded in the response to every request that writes.
type Replay struct {
	Replayed string `header:"Idempotency-Replayed" json:"-" enum:"true" doc:"Present if this is the response of an earlier request with the same Idempotency-Key."`
}

func (r *Replay) replayed() { r.Replayed = "true" }

// written is the response to a request that writes, if it has more than one resource or no
// ETag.
type written[T any] struct {
	Replay
	Body T
}

// deleted is the response to a deletion.
type deleted struct{ Replay }

// once runs an operation that writes. If the request has a key, it runs in one transaction
// of the given class, which also stores the key and the response. Otherwise it runs
// directly. act must use only the Queries that are passed to it, and may be called more
// than once.
func once[T any, P interface {
	*T
	replayed()
}](ctx context.Context, s *server, key, class string, act func(*db.Queries) (*T, error)) (*T, error) {
	sum, hashed := ctx.Value(fingerprintKey{}).(hash.Hash)
	if key == "" || !hashed {
		return act(s.Queries)
	}
	var out *T
	stored, replayed, err := s.Store.Once(ctx, store.Keyed{Key: tokenOf(ctx).Key(key), Hash: sum.Sum(nil), Class: class},
		func(q *db.Queries) (response []byte, err error) {
			if out, err = act(q); err != nil {
				return nil, err
			}
			// Store the body as it is sent. Otherwise a payload would be returned with
			// other escapes.
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

// fingerprint hashes a request that has a key while it is read: its method, target,
// condition and body, byte for byte. A request with the same meaning but other bytes is a
// different request.
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

// retryAfter returns the Retry-After header for problems that usually end within seconds.
func retryAfter(c code) http.Header {
	switch c {
	case codeUnavailable, codeKeyInFlight, codeImportsBusy, codeOverloaded, codeRateLimited, codeBulkLimited:
		return http.Header{"Retry-After": {"1"}}
	}
	return nil
}

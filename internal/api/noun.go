package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// noun describes resources of one kind to the operations that all of them have. T is
// the resource on the wire, R its row, and K the type of its key. The rows must have a
// version.
type noun[K, R, T any] struct {
	tag  string                                            // tag of its operations in the document
	path string                                            // of one resource, up to its key: "/v1/users/"
	get  func(*db.Queries, context.Context, K) (*R, error) // reads a row
	of   func(*R) T                                        // makes a resource of a row
	id   func(*T) (key K, version int32)                   // identifies a resource
}

// getRequest is a request for one resource.
type getRequest[K, T any] struct {
	strict
	ID          K      `path:"id"`
	IfNoneMatch string `header:"If-None-Match" doc:"An ETag from an earlier response. If it is still current, the response is 304."`
}

// patchRequest is a request that changes one resource by the patch B.
type patchRequest[K, T, B any] struct {
	strict
	Keyed
	ID      K      `path:"id"`
	IfMatch string `header:"If-Match" doc:"The expected ETag. If the resource has changed, the request is rejected with 412."`
	Body    B
}

// deleteRequest is a request that deletes one resource.
type deleteRequest[K, T any] struct {
	strict
	Keyed
	ID      K      `path:"id"`
	IfMatch string `header:"If-Match" doc:"The expected ETag. If the resource has changed, the request is rejected with 412."`
}

// These methods return the key of the resource, for the example of an id in the path.

func (getRequest[K, T]) names() reflect.Type      { return reflect.TypeFor[T]() }
func (patchRequest[K, T, B]) names() reflect.Type { return reflect.TypeFor[T]() }
func (deleteRequest[K, T]) names() reflect.Type   { return reflect.TypeFor[T]() }

// found is the response to a request for one resource.
type found[T any] struct {
	Status int
	ETag   string `header:"ETag" doc:"The version of the resource, for If-Match and If-None-Match."`
	Body   T
}

// created is the response to a request that created one resource.
type created[T any] struct {
	Created
	ETag string `header:"ETag" doc:"The version of the resource, for If-Match and If-None-Match."`
	Body T
}

// patched is the response to a request that changed one resource.
type patched[T any] struct {
	Replay
	ETag string `header:"ETag" doc:"The version of the resource, for If-Match and If-None-Match."`
	Body T
}

// operation sets the fields of an operation that all operations of the noun share.
func (n noun[K, R, T]) operation(method string, op huma.Operation) huma.Operation {
	op.Method, op.Tags = method, []string{n.tag}
	if op.Path == "" {
		op.Path = n.path + "{id}"
	}
	return op
}

// found responds with a resource, or with 304 if ifNoneMatch contains its ETag.
func (n noun[K, R, T]) found(row *R, ifNoneMatch string) *found[T] {
	body := n.of(row)
	_, version := n.id(&body)
	return &found[T]{Status: foundStatus(ifNoneMatch, version), ETag: etag(version), Body: body}
}

// created responds with a new resource.
func (n noun[K, R, T]) created(body T) *created[T] {
	key, version := n.id(&body)
	return &created[T]{Created: Created{Location: n.path + fmt.Sprint(key)}, ETag: etag(version), Body: body}
}

// current reads the row with a key from the primary. It returns store.ErrVersionMismatch if
// ifVersion is set and the row has another version.
func (n noun[K, R, T]) current(ctx context.Context, q *db.Queries, key K, ifVersion *int32) (*R, error) {
	return store.Current(ctx, q, ifVersion,
		func(q *db.Queries) (*R, error) { return n.get(q, ctx, key) },
		func(row *R) int32 {
			body := n.of(row)
			_, version := n.id(&body)
			return version
		})
}

// unchanged returns why a statement with a version changed no row: no row has the key, or
// the row has another version.
func (n noun[K, R, T]) unchanged(ctx context.Context, q *db.Queries, key K, ifVersion *int32) error {
	if _, err := n.current(ctx, q, key, ifVersion); err != nil {
		return err
	}
	// If the row exists now with that version, it was created between the two statements.
	return store.ErrVersionMismatch
}

// createOne registers the operation that creates a resource by one statement.
func createOne[K, R, T, I any, In interface {
	*I
	key() string
}](s *server, n noun[K, R, T], op huma.Operation, insert func(context.Context, *db.Queries, *I) (*R, error), codes ...code) {
	op = n.operation(http.MethodPost, op)
	op.DefaultStatus = http.StatusCreated
	write[I, created[T], In](s, op, writes(codes...), func(ctx context.Context, q *db.Queries, in *I) (*created[T], error) {
		row, err := insert(ctx, q, in)
		if err != nil {
			return nil, err
		}
		return n.created(n.of(row)), nil
	})
}

// getOne registers the operation that returns a resource.
func getOne[K, R, T any](s *server, n noun[K, R, T], op huma.Operation) {
	op = n.operation(http.MethodGet, op)
	op.Responses = notModified()
	register(s, op, reads(codeNotFound), func(ctx context.Context, in *getRequest[K, T]) (*found[T], error) {
		row, err := n.get(s.Queries, ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return n.found(row, in.IfNoneMatch), nil
	})
}

// patchOne registers the operation that changes a resource by a merge patch. update is one
// statement. If ifVersion is not nil, it must change no row that has another version. An
// empty patch runs no update.
func patchOne[K, R, T, B any](s *server, n noun[K, R, T], op huma.Operation,
	update func(ctx context.Context, q *db.Queries, key K, patch *B, ifVersion *int32) (*R, error), codes ...code,
) {
	op = n.operation(http.MethodPatch, op)
	op.Description = cmp.Or(op.Description, "A merge patch (RFC 7396): what is absent stays, null clears. A patch that gives nothing changes nothing.")
	codes = append(codes, codeInvalidETag, codeNotFound, codeVersionMismatch)
	write(s, op, writes(codes...), func(ctx context.Context, q *db.Queries, in *patchRequest[K, T, B]) (*patched[T], error) {
		row, err := ifMatch(in.IfMatch, func(ifVersion *int32) (*R, error) {
			if givesNothing(&in.Body) {
				return n.current(ctx, q, in.ID, ifVersion)
			}
			row, err := update(ctx, q, in.ID, &in.Body, ifVersion)
			if errors.Is(err, postgres.ErrNotFound) {
				err = n.unchanged(ctx, q, in.ID, ifVersion)
			}
			return row, err
		})
		if err != nil {
			return nil, err
		}
		body := n.of(row)
		_, version := n.id(&body)
		return &patched[T]{ETag: etag(version), Body: body}, nil
	})
}

// deleteOne registers the operation that deletes a resource. remove is one statement, which
// returns the number of deleted rows. If ifVersion is not nil, it must delete no row that
// has another version.
func deleteOne[K, R, T any](s *server, n noun[K, R, T], op huma.Operation,
	remove func(ctx context.Context, q *db.Queries, key K, ifVersion *int32) (int64, error), codes ...code,
) {
	op = n.operation(http.MethodDelete, op)
	codes = append(codes, codeInvalidETag, codeNotFound, codeVersionMismatch)
	write(s, op, writes(codes...), func(ctx context.Context, q *db.Queries, in *deleteRequest[K, T]) (*deleted, error) {
		_, err := ifMatch(in.IfMatch, func(ifVersion *int32) (int64, error) {
			removed, err := remove(ctx, q, in.ID, ifVersion)
			if err == nil && removed == 0 {
				err = n.unchanged(ctx, q, in.ID, ifVersion)
			}
			return removed, err
		})
		return &deleted{}, err
	})
}

// listAll registers the operation that returns a page of a list. list returns the name of
// the list of a request, and the function that reads its rows.
func listAll[K, R, T, I any, In interface {
	*I
	paging() *Paging
}](s *server, n noun[K, R, T], op huma.Operation, list func(context.Context, *I) (string, store.ReadPage[K, R]), codes ...code) {
	op = n.operation(http.MethodGet, op)
	codes = append(codes, codeInvalidCursor)
	register(s, op, reads(codes...), func(ctx context.Context, in *I) (*listed[T], error) {
		name, read := list(ctx, in)
		return n.page(In(in).paging(), name, read)
	})
}

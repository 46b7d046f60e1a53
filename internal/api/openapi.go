package api

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// document is the OpenAPI document before the operations are in it. Its server is the
// one that it came from. A document without servers means the same, but linters and
// some client generators require the member. Security has an empty alternative, because
// a server on loopback needs no token.
func document(version string) *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "Quern",
			Version: version,
			License: &huma.License{Name: "MIT", Identifier: "MIT"},
			Description: "A SQL-first data service on PostgreSQL.\n\n" +
				"Bodies are JSON, times are RFC 3339 in UTC, and lists are never null. " +
				"Every error is a problem (RFC 9457), identified by its `code`. " +
				"Lists are paginated: pass `next` as `after` and `prev` as `before`. " +
				"A change with `If-Match` is rejected with 412 if the resource has changed. " +
				"Every write accepts an `Idempotency-Key`: a request that is repeated with the same key takes effect once. " +
				"If a response has a `Consistency-Token`, send it with the next request, so that no response is older than " +
				"the data you have written or read. Browsers send it as a cookie. " +
				"Exports, imports, statistics and changes of many users share half of the database connections. " +
				"If these are in use, requests wait, and then fail with 503 `unavailable` and `Retry-After`. " +
				"Responses are gzipped if `Accept-Encoding` allows it, and bodies may be gzipped, with `Content-Encoding: gzip`. " +
				"Send an `X-Request-Id` to find a request in the log. Every response has one.",
		},
		Servers:  []*huma.Server{{URL: "/", Description: "The server of this document."}},
		Security: []map[string][]string{{tokenScheme: {}}, {}},
		Components: &huma.Components{
			SecuritySchemes: map[string]*huma.SecurityScheme{tokenScheme: {
				Type: "http", Scheme: "bearer",
				Description: "An API token, created with `server token create`. Scope `read` allows GET, `write` every request of the API, and `operate` also `/metrics` and the console. " +
					"A server that only its own machine can reach needs none.",
			}},
			Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
		},
	}
}

// schemaName is huma's name of a schema, but the page of a User is a UserPage.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if item, ok := strings.CutPrefix(name, "Page"); ok && strings.HasPrefix(t.Name(), "Page[") {
		return item + "Page"
	}
	return name
}

// tag adds a tag to the document, for the operations that are registered next.
func (s *server) tag(name, description string) []string {
	doc := s.api.OpenAPI()
	doc.Tags = append(doc.Tags, &huma.Tag{Name: name, Description: description})
	return []string{name}
}

// eachSchema calls visit with a schema and those in it, each of them once.
func eachSchema(schema *huma.Schema, schemas huma.Registry, seen map[*huma.Schema]bool, visit func(*huma.Schema)) {
	if schema != nil && schema.Ref != "" {
		schema = schemas.SchemaFromRef(schema.Ref)
	}
	if schema == nil || seen[schema] {
		return
	}
	seen[schema] = true
	visit(schema)
	for _, part := range slices.Concat(schema.OneOf, schema.AnyOf, schema.AllOf, slices.Collect(maps.Values(schema.Properties)), []*huma.Schema{schema.Items, schema.Not}) {
		eachSchema(part, schemas, seen, visit)
	}
}

// storableText excludes the NUL character from the texts in a body, because PostgreSQL cannot
// store it (manual, section 8.3). A text with a format or an enumeration needs no such rule.
func (s *server) storableText(body *huma.RequestBody) {
	schemas := s.api.OpenAPI().Components.Schemas
	eachSchema(body.Content["application/json"].Schema, schemas, map[*huma.Schema]bool{}, func(text *huma.Schema) {
		if text.Type == huma.TypeString && text.Format == "" && text.Enum == nil && text.Pattern == "" {
			text.Pattern, text.PatternDescription = `^[^\x00]*$`, "without NUL characters"
			text.PrecomputeMessages()
		}
	})
}

// exampleOfID sets the example of the id in a path to that of the resource.
func (s *server) exampleOfID(op huma.Operation, resource reflect.Type) {
	doc := s.api.OpenAPI()
	id := doc.Components.Schemas.Schema(resource, false, "").Properties["id"]
	if id == nil {
		return // its key has another name
	}
	item := doc.Paths[op.Path]
	registered := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete}[op.Method]
	for _, p := range registered.Parameters {
		if p.In == "path" && len(p.Schema.Examples) == 0 {
			p.Schema.Examples = id.Examples
		}
	}
}

var retryAfterHeader = &huma.Header{Description: "Seconds to wait before trying again.", Schema: &huma.Schema{Type: huma.TypeInteger}}

// documentProblems describes the problems of the given codes: a response for
// each status, with an example for each code.
func (s *server) documentProblems(responses map[string]*huma.Response, of []code) {
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	for _, c := range of {
		status := strconv.Itoa(codes[c].status)
		response := responses[status]
		if response == nil {
			response = &huma.Response{
				Description: http.StatusText(codes[c].status),
				Content: map[string]*huma.MediaType{
					"application/problem+json": {Schema: schema, Examples: map[string]*huma.Example{}},
				},
			}
			responses[status] = response
		}
		if retryAfter(c) != nil {
			response.Headers = map[string]*huma.Header{"Retry-After": retryAfterHeader}
		}
		response.Content["application/problem+json"].Examples[string(c)] = s.exampleOf(c)
	}
}

// exampleOf returns the example of a code, which all operations share.
func (s *server) exampleOf(c code) *huma.Example {
	if s.examples[c] == nil {
		s.examples[c] = &huma.Example{Summary: codes[c].detail, Value: example(c)}
	}
	return s.examples[c]
}

// example is a problem as it looks on the wire.
func example(c code) *Problem {
	for _, row := range table {
		if row.code == c && row.location != "" {
			return newProblem(c, FieldError{Location: row.location, Message: codes[c].detail})
		}
	}
	if c == codeInvalid {
		return newProblem(c, FieldError{Location: "query.limit", Message: "expected number <= 1000", Value: 5000})
	}
	return newProblem(c)
}

// Schema lists all codes.
func (code) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Examples: []any{string(codeInvalid)}}
	for c := range codes {
		if c != codeClientClosed {
			s.Enum = append(s.Enum, string(c))
		}
	}
	slices.SortFunc(s.Enum, func(a, b any) int {
		return slices.Compare([]byte(a.(string)), []byte(b.(string)))
	})
	return s
}

// notModified describes the answer to an If-None-Match.
func notModified() map[string]*huma.Response {
	return map[string]*huma.Response{
		strconv.Itoa(http.StatusNotModified): {Description: "Not changed since the ETag in If-None-Match."},
	}
}

// foundStatus returns the status of the response to a GET with an If-None-Match.
func foundStatus(ifNoneMatch string, version int32) int {
	if ifNoneMatch != "" && !noneMatch(ifNoneMatch, version) {
		return http.StatusNotModified
	}
	return http.StatusOK
}

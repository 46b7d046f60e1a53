package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/store"
)

// registerImportRejects adds the operation that responds with all rejected rows of an import. A
// response cannot have them while the body is still being sent, because HTTP/1.1 clients read it
// afterwards. So they are kept in a temporary file until then.
func (s *server) registerImportRejects(of huma.Operation, codes []code, act importAct) {
	noun := of.Tags[0]
	content := map[string]*huma.MediaType{mediaNDJSON: {
		Schema:  &huma.Schema{Type: huma.TypeString},
		Example: `{"_reject":{"line":12,"field":"age","reason":"is not between 0 and 150"},"username":"ann","email":"ann@example.com","age":200}` + "\n",
	}}
	op := huma.Operation{
		OperationID: of.OperationID + "Rejects", Method: http.MethodPost, Path: of.Path + "/rejects", Tags: of.Tags,
		Summary: "Import " + noun + " and return the rejected rows",
		Description: "Does the same as " + of.OperationID + " and responds with all rejected rows, as NDJSON that can be corrected and imported: " +
			"`_reject` has the line, the field and the reason, and imports skip it. " +
			"A body that was imported already stores nothing, so send it here to get the rejected rows of an import. " +
			"The status is 422 if nothing was stored because rows were rejected. If the import stops early, as by `max_rejects`, the response is the problem of " + of.OperationID + ".",
		RequestBody: &huma.RequestBody{Required: true, Content: of.RequestBody.Content},
		Responses:   map[string]*huma.Response{"200": {Description: "OK", Content: content}},
		Middlewares: huma.Middlewares{unwrapped, s.audited("import", noun)}, Metadata: streaming(),
	}
	register(s, op, codes, func(ctx context.Context, in *importRequest) (*huma.StreamResponse, error) {
		return s.importRejects(ctx, in, &op, act)
	})
	op.Responses[strconv.Itoa(http.StatusUnprocessableEntity)].Content[mediaNDJSON] = content[mediaNDJSON]
}

// importRejects imports the body of a request and responds with the rejected rows.
func (s *server) importRejects(ctx context.Context, in *importRequest, op *huma.Operation, act importAct) (*huma.StreamResponse, error) {
	file, err := s.Store.NewRejectFile()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var first []Rejected
	_, err = s.runImport(ctx, in, op, act, &first, file.Add)
	status := http.StatusOK
	switch {
	case errors.Is(err, store.ErrRejected):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, store.ErrNoSpool):
		p := newProblem(codeNoSpool)
		p.Detail = "There is no disk space for the rejected rows, or for the body of a strict import. Send the request again later, or raise IMPORT_SPOOL."
		return nil, p
	case err != nil:
		return nil, err
	}
	c := connOf(ctx)
	boundConn(ctx)
	h := c.w.Header()
	h.Set("Content-Type", mediaNDJSON)
	h.Set("Content-Disposition", `attachment; filename="`+op.Tags[0]+`-rejects.ndjson"`)
	w := &streamWriter{
		w: c.w, on: http.NewResponseController(c.w), stall: s.StreamTimeout, until: time.Now().Add(s.ExportTimeout),
		head: func() { c.w.WriteHeader(status) },
	}
	if _, err := file.WriteTo(w); err != nil {
		panic(http.ErrAbortHandler) // the client must not mistake a part for the whole
	}
	if !w.begun {
		c.w.WriteHeader(status)
	}
	return &huma.StreamResponse{Body: func(huma.Context) {}}, nil
}

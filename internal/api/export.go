package api

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/store"
)

type userExport struct {
	strict
	UserFilter
}

type postExport struct {
	strict
	UserID Optional[int64] `query:"user_id" doc:"Only the posts of this user."`
}

func (s *server) registerExports() {
	operation := func(noun, csv, ndjson string) huma.Operation {
		schema := &huma.Schema{Type: huma.TypeString}
		return huma.Operation{
			OperationID: "export" + strings.ToUpper(noun[:1]) + noun[1:], Method: http.MethodGet,
			Path: "/v1/" + noun + "/export", Tags: []string{noun},
			Summary: "Export " + noun,
			Description: "All rows that match the filters, in one snapshot and in the order of their ids, " +
				"as CSV, or as NDJSON if `Accept` prefers it, gzipped if `Accept-Encoding` allows it. " +
				"The import accepts this format. A client may read slowly, but must not pause for more than 30 seconds, and an export has a time limit, half an hour by default. " +
				"If an export fails after its response has begun, the response ends without the terminator that HTTP requires, and every HTTP client reports that as an error.",
			Responses: map[string]*huma.Response{"200": {
				Description: "OK",
				Content:     map[string]*huma.MediaType{mediaCSV: {Schema: schema, Example: csv}, mediaNDJSON: {Schema: schema, Example: ndjson}},
			}},
			Middlewares: huma.Middlewares{unwrapped}, Metadata: streaming(),
		}
	}
	users := operation("users",
		"id,username,email,age,tags,created_at,updated_at,version\n"+
			"42,ada,ada@example.org,36,\"[\"\"admin\"\"]\",2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,1\n",
		`{"id":42,"username":"ada","email":"ada@example.org","age":36,"tags":["admin"],`+
			`"created_at":"2026-01-31T12:00:00Z","updated_at":"2026-01-31T12:00:00Z","version":1}`+"\n")
	posts := operation("posts",
		"id,user_id,username,title,content,tags,created_at,updated_at,version\n"+
			"7,42,ada,On engines,It can follow analysis.,\"[\"\"notes\"\"]\",2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,1\n",
		`{"id":7,"user_id":42,"username":"ada","title":"On engines","content":"It can follow analysis.","tags":["notes"],`+
			`"created_at":"2026-01-31T12:00:00Z","updated_at":"2026-01-31T12:00:00Z","version":1}`+"\n")
	register(s, users, reads(codeNotAcceptable), func(ctx context.Context, in *userExport) (*huma.StreamResponse, error) {
		return s.exportRows(ctx, "users", func(w io.Writer, o store.ExportOptions) (int64, error) {
			return s.Store.ExportUsers(ctx, w, in.filter(), o)
		})
	})
	register(s, posts, reads(codeNotAcceptable), func(ctx context.Context, in *postExport) (*huma.StreamResponse, error) {
		return s.exportRows(ctx, "posts", func(w io.Writer, o store.ExportOptions) (int64, error) {
			return s.Store.ExportPosts(ctx, w, store.PostFilter{UserID: in.UserID.ptr()}, o)
		})
	})
}

// exportRows sends the rows while they are read. An error before the first row becomes a
// problem. A later error breaks the connection.
func (s *server) exportRows(
	ctx context.Context, noun string, act func(io.Writer, store.ExportOptions) (int64, error),
) (*huma.StreamResponse, error) {
	c := connOf(ctx)
	media := accepted(strings.Join(c.r.Header.Values("Accept"), ","), mediaCSV, mediaNDJSON)
	if media == "" {
		return nil, newProblem(codeNotAcceptable)
	}
	boundConn(ctx)
	h := c.w.Header()
	start := time.Now()
	w := &streamWriter{w: c.w, on: http.NewResponseController(c.w), stall: s.StreamTimeout, until: start.Add(s.ExportTimeout), head: func() {
		h.Set("Content-Type", media)
		if media == mediaCSV {
			h.Set("Content-Type", media+"; charset=utf-8; header=present")
		}
		h.Set("Vary", "Accept, Accept-Encoding")
		h.Set("Content-Disposition", `attachment; filename="`+noun+"."+string(formats[media])+`"`)
	}}
	out := io.Writer(w)
	compressed := (*gzip.Writer)(nil)
	if acceptsGzip(c.r.Header) {
		compressed, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // the error is only for invalid levels
		out = compressed
		plain := w.head
		w.head = func() {
			plain()
			h.Set("Content-Encoding", "gzip")
		}
	}
	rows, err := act(out, store.ExportOptions{Format: formats[media], Timeout: s.ExportTimeout})
	if err == nil && compressed != nil {
		err = compressed.Close()
	}
	if err == nil {
		return &huma.StreamResponse{Body: func(huma.Context) {}}, nil
	}
	if !w.begun {
		return nil, err
	}
	level, reason := slog.LevelWarn, w.cut(ctx)
	if reason == "" {
		level, reason = slog.LevelDebug, "the client left"
	}
	s.Logger.LogAttrs(ctx, level, "export cut off",
		slog.String("request_id", requestID(ctx)), slog.String("client", c.r.RemoteAddr), slog.String("of", noun),
		slog.String("reason", reason), slog.Int64("rows", rows), slog.Int64("bytes", w.bytes),
		slog.Duration("took", time.Since(start)), slog.Any("error", err))
	panic(http.ErrAbortHandler)
}

// accepted returns the offer that a header like Accept prefers, or "" if it accepts none
// (RFC 9110, section 12.4). Among equal weights, an offer that the header names precedes
// one that matches a wildcard, and then the first offer wins. Without the header, every
// offer is accepted.
func accepted(header string, offers ...string) string {
	if strings.TrimSpace(header) == "" {
		return offers[0]
	}
	best, most, named := "", 0.0, -1
	for _, offer := range offers {
		weight, specific := 0.0, -1
		for item := range strings.SplitSeq(header, ",") {
			item, params, _ := strings.Cut(strings.TrimSpace(item), ";")
			item = strings.ToLower(strings.TrimSpace(item))
			rank := -1
			switch main, _, _ := strings.Cut(offer, "/"); {
			case item == offer:
				rank = 2
			case item == main+"/*":
				rank = 1
			case item == "*/*", item == "*":
				rank = 0
			}
			if rank > specific {
				specific, weight = rank, quality(params)
			}
		}
		if weight > most || weight == most && weight > 0 && specific > named {
			best, most, named = offer, weight, specific
		}
	}
	return best
}

// quality returns the weight among the parameters of an item: 1 if it has none.
func quality(params string) float64 {
	_, values, err := mime.ParseMediaType("x/x;" + params)
	if err != nil || values["q"] == "" {
		return 1
	}
	q, err := strconv.ParseFloat(values["q"], 64)
	if err != nil {
		return 0
	}
	return q
}

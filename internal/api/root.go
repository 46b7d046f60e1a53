package api

import (
	"bytes"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// rootLink is a link of the page at /.
type rootLink struct {
	Name string `json:"name"`
	Path string `json:"path"`
	What string `json:"what"`
}

// registerRoot serves /: the console to browsers, and to other clients the links to the other
// pages, as JSON if they prefer that. It is not an operation of the document.
func (s *server) registerRoot() {
	links := []rootLink{
		{"docs", "/docs", "reference of all operations, which you can try there"},
		{"openapi", "/openapi.json", "the OpenAPI document"},
		{"openapi_yaml", "/openapi.yaml", "the OpenAPI document as YAML"},
		{"users", "/v1/users", "list of users"},
		{"tasks", "/v1/tasks", "list of tasks"},
		{"stats", "/v1/stats/overview", "totals of users, posts and tasks"},
		{"readyz", "/readyz", "readiness: whether requests can be served"},
		{"livez", "/livez", "liveness: whether the process is alive"},
	}
	public := s.rootPage(slices.Clone(links))
	if s.Console != nil {
		links = append(links, rootLink{"console", "/console/", "the console, which browsers also get at /"})
	}
	if s.Metrics != nil {
		links = append(links, rootLink{"metrics", "/metrics", "metrics for Prometheus"})
	}
	all := s.rootPage(links)
	s.mux.Handle("GET /{$}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		accept, page := strings.Join(r.Header.Values("Accept"), ","), all
		operators := entranceOf(r.Context()).operators
		if !operators {
			page = public
		}
		switch {
		case accepted(accept, "text/html", "application/json") == "application/json":
			page.json(w, r)
		// Only browsers name text/html. curl, which accepts everything, gets the links.
		case s.Console != nil && operators && strings.Contains(accept, "text/html"):
			s.Console.Page().ServeHTTP(w, r)
		default:
			page.html(w, r)
		}
	}))
}

// rootPage is the links in both formats.
type rootPage struct{ html, json http.HandlerFunc }

func (s *server) rootPage(links []rootLink) rootPage {
	root := struct {
		Title   string     `json:"title"`
		Version string     `json:"version"`
		Links   []rootLink `json:"links"`
	}{"Quern", s.Version, links}
	return rootPage{
		html: constant("text/html; charset=utf-8", func() ([]byte, error) {
			page, err := template.ParseFS(docsFiles, "docs/root.html")
			if err != nil {
				return nil, err
			}
			var b bytes.Buffer
			err = page.Execute(&b, root)
			return b.Bytes(), err
		}),
		json: constant("application/json", func() ([]byte, error) {
			b, err := json.Marshal(root)
			return append(b, '\n'), err
		}),
	}
}

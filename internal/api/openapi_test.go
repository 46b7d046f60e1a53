package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
)

// operations calls f for each operation of the document.
func operations(doc *huma.OpenAPI, f func(*huma.Operation)) {
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Options, item.Head, item.Patch, item.Trace} {
			if op != nil {
				f(op)
			}
		}
	}
}

// TestOpenAPI_Routes compares the documented routes with the served ones.
func TestOpenAPI_Routes(t *testing.T) {
	t.Parallel()
	s := newServer(Config{})
	var described []string
	operations(s.api.OpenAPI(), func(op *huma.Operation) { described = append(described, op.Method+" "+op.Path) })
	// The document itself and the page that shows it are not operations.
	page := []string{"/openapi.", "/docs"}
	served := slices.DeleteFunc(slices.Clone(s.mux.patterns), func(pattern string) bool {
		return slices.ContainsFunc(page, func(prefix string) bool { return strings.HasPrefix(pattern, "GET "+prefix) })
	})
	slices.Sort(described)
	slices.Sort(served)
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("(-served +described):\n%s", diff)
	}
	if len(described) < 36 {
		t.Errorf("%d operations, want 36 and those of further nouns", len(described))
	}
}

// TestDocument compares the document that is made without a database with the served one.
func TestDocument(t *testing.T) {
	t.Parallel()
	document, err := Document("dev")
	if err != nil {
		t.Fatal(err)
	}
	if served := newGuarded(t).get("/openapi.json").want(200).body; served != string(document) {
		t.Errorf("the served document has %d bytes and differs from the printed one, which has %d", len(served), len(document))
	}
}

// TestOpenAPI_Operations checks that the document of every operation is complete.
func TestOpenAPI_Operations(t *testing.T) {
	t.Parallel()
	doc := newServer(Config{}).api.OpenAPI()
	var tags []string
	for _, tag := range doc.Tags {
		tags = append(tags, tag.Name)
	}
	operations(doc, func(op *huma.Operation) {
		name := op.Method + " " + op.Path
		if op.OperationID == "" || op.Summary == "" || len(op.Tags) != 1 || !slices.Contains(tags, op.Tags[0]) {
			t.Errorf("%s: id %q, summary %q, tags %q", name, op.OperationID, op.Summary, op.Tags)
		}
		want := []string{"500"}
		if strings.HasPrefix(op.Path, "/v1/") {
			want = append(want, "422", "503", "504")
		}
		for _, status := range want {
			if op.Responses[status] == nil {
				t.Errorf("%s does not describe %s", name, status)
			}
		}
		for status, response := range op.Responses {
			if response.Description == "" {
				t.Errorf("%s: %s has no description", name, status)
			}
			if status < "400" {
				continue
			}
			media := response.Content["application/problem+json"]
			if media == nil || media.Schema.Ref != "#/components/schemas/Problem" || len(media.Examples) == 0 {
				t.Errorf("%s: %s is not described as a problem", name, status)
				continue
			}
			for c, example := range media.Examples {
				if p := example.Value.(*Problem); string(p.Code) != c || strconv.Itoa(p.Status) != status {
					t.Errorf("%s: the example %s of %s is %+v", name, c, status, p)
				}
			}
		}
		if op.RequestBody != nil {
			want := []string{"application/json"}
			if op.Method == http.MethodPatch && strings.HasSuffix(op.Path, "}") {
				want = append(want, mergePatch)
			}
			if strings.Contains(op.Path, "/import") {
				want = []string{mediaNDJSON, mediaCSV}
			}
			var got []string
			for media := range op.RequestBody.Content {
				got = append(got, media)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" || !op.RequestBody.Required {
				t.Errorf("%s takes (-want +got):\n%s", name, diff)
			}
		}
	})
}

// TestOpenAPI_Strict sends every operation a parameter that it does not know.
func TestOpenAPI_Strict(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	operations(newServer(Config{}).api.OpenAPI(), func(op *huma.Operation) {
		if !strings.HasPrefix(op.Path, "/v1/") {
			return
		}
		body := ""
		if op.RequestBody != nil {
			body = "{"
		}
		path := strings.NewReplacer("{id}", "1", "{username}", "a").Replace(op.Path)
		a := c.do(op.Method, path+"?bogus=1", body)
		if !strings.Contains(a.body, `"query.bogus"`) || a.status < 400 {
			t.Errorf("%s %s: %d %s", op.Method, op.Path, a.status, a.body)
		}
	})
}

func TestOpenAPI_Document(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) { cfg.Version = "1.2.3" })
	var doc map[string]any
	if err := json.Unmarshal([]byte(c.get("/openapi.json").body), &doc); err != nil {
		t.Fatal(err)
	}
	info := doc["info"].(map[string]any)
	if doc["openapi"] != "3.1.0" || info["title"] != "Quern" || info["version"] != "1.2.3" || fmt.Sprint(doc["servers"]) != "[map[description:The server of this document. url:/]]" || doc["security"] == nil {
		t.Errorf("openapi %v, info %v, servers %v, security %v", doc["openapi"], info, doc["servers"], doc["security"])
	}
	// Every reference must have a target, and no member of a patch may be required.
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && schemas[strings.TrimPrefix(ref, "#/components/schemas/")] == nil {
				t.Errorf("%s refers to %s, which is not there", at, ref)
			}
			for key, value := range v {
				walk(at+"/"+key, value)
			}
		case []any:
			for i, value := range v {
				walk(fmt.Sprintf("%s/%d", at, i), value)
			}
		}
	}
	walk("", doc)
	property := func(schema, name string) string {
		p := schemas[schema].(map[string]any)["properties"].(map[string]any)[name].(map[string]any)
		return fmt.Sprint(p["type"])
	}
	for _, test := range []struct{ schema, name, want string }{
		{"User", "age", "[integer null]"},
		{"User", "tags", "array"},
		{"UserPatch", "age", "[integer null]"},
		{"UserPatch", "username", "string"},
		{"UserPatch", "tags", "[array null]"},
		{"UserPage", "next", "[string null]"},
		{"UserPage", "items", "array"},
		{"Problem", "code", "string"},
	} {
		if got := property(test.schema, test.name); got != test.want {
			t.Errorf("%s.%s is a %s, want %s", test.schema, test.name, got, test.want)
		}
	}
	if required := schemas["UserPatch"].(map[string]any)["required"]; required != nil {
		t.Errorf("a patch requires %v", required)
	}
}

// TestOpenAPI_Linted checks, without a linter, the problems that linters have found. TestLint
// runs the linters.
func TestOpenAPI_Linted(t *testing.T) {
	t.Parallel()
	doc := newServer(Config{}).api.OpenAPI()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "patternDescription") {
		t.Error("patternDescription, which no other tool knows, is in the document")
	}
	operations(doc, func(op *huma.Operation) {
		if op.Description == "" {
			t.Errorf("%s has no description", op.OperationID)
		}
		for _, p := range op.Parameters {
			if p.In == "path" && p.Example == nil {
				t.Errorf("%s: the parameter %s has no example", op.OperationID, p.Name)
			}
		}
	})
	// The validator's messages must still contain it.
	c := newClient(t)
	a := c.do("POST", "/v1/users", `{"username":"a\u0000","email":"x"}`)
	if a.problem(422, codeInvalid, "body.username"); !strings.Contains(a.body, "without NUL characters") {
		t.Errorf("a NUL is refused with %s", a.body)
	}
}

// TestOpenAPI_Examples sends the examples of the document as they are. Those of rows
// are sent by TestImport_Examples.
func TestOpenAPI_Examples(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.CreateUser(t) // the user that the example of a path refers to
	doc := newServer(Config{}).api.OpenAPI()
	operations(doc, func(op *huma.Operation) {
		if op.RequestBody == nil || op.RequestBody.Content["application/json"] == nil {
			return
		}
		body, err := json.Marshal(exampleOf(doc, op.RequestBody.Content["application/json"].Schema))
		if err != nil {
			t.Fatal(err)
		}
		id := "1"
		for _, p := range op.Parameters {
			if p.In == "path" && p.Schema.Type == huma.TypeString {
				id = fmt.Sprint(p.Example)
			}
		}
		a := c.do(op.Method, strings.ReplaceAll(op.Path, "{id}", id), string(body))
		// An example may refer to a row that does not exist.
		refers := strings.Contains(a.body, `"code":"unknown_reference"`)
		if a.status == 400 || a.status == 422 && !refers || a.status >= 500 {
			t.Errorf("%s: the example %s is answered with %d %s", op.OperationID, body, a.status, a.body)
		}
	})
}

// exampleOf builds an example from those of the properties, as documentation tools do.
func exampleOf(doc *huma.OpenAPI, schema *huma.Schema) any {
	if schema.Ref != "" {
		schema = doc.Components.Schemas.SchemaFromRef(schema.Ref)
	}
	switch {
	case len(schema.Examples) > 0:
		return schema.Examples[0]
	case schema.Items != nil:
		return []any{exampleOf(doc, schema.Items)}
	case schema.Properties != nil:
		object := map[string]any{}
		for name, property := range schema.Properties {
			object[name] = exampleOf(doc, property)
		}
		return object
	}
	return nil
}

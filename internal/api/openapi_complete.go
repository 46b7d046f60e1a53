package api

import (
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// completeDocument moves some of the document to where other tools expect it, and removes
// huma's own keywords. It must be called after the registration of the operations, which
// creates the validator's messages from the pattern descriptions.
func (s *server) completeDocument() {
	doc := s.api.OpenAPI()
	seen := map[*huma.Schema]bool{}
	// patternDescription is a keyword of huma only.
	plain := func(schema *huma.Schema) {
		eachSchema(schema, doc.Components.Schemas, seen, func(schema *huma.Schema) { schema.PatternDescription = "" })
	}
	for _, schema := range doc.Components.Schemas.Map() {
		plain(schema)
	}
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete, item.Patch} {
			if op == nil {
				continue
			}
			for _, p := range op.Parameters {
				plain(p.Schema)
				// Tools that fill in a form use this example first.
				if p.Example == nil && len(p.Schema.Examples) > 0 {
					p.Example = p.Schema.Examples[0]
				}
			}
			if op.RequestBody != nil {
				exampleRows(path, op.RequestBody.Content)
				for _, body := range op.RequestBody.Content {
					plain(body.Schema)
				}
			}
		}
	}
}

// rowExamples are rows for imports, by the second part of the path.
var rowExamples = map[string]map[string]string{
	"users": {
		mediaCSV: "username,email,age,tags\n" +
			"ada,ada@example.org,36,\"[\"\"admin\"\"]\"\n" +
			"grace,grace@example.org,,[]\n",
		mediaNDJSON: `{"username":"ada","email":"ada@example.org","age":36,"tags":["admin"]}` + "\n" +
			`{"username":"grace","email":"grace@example.org","age":null,"tags":[]}` + "\n",
	},
	"posts": {
		mediaCSV: "username,title,content,tags\n" +
			"ada,On engines,It can follow analysis.,\"[\"\"notes\"\"]\"\n" +
			"ada,Note G,\"Two lines,\nand a comma.\",[]\n",
		mediaNDJSON: `{"username":"ada","title":"On engines","content":"It can follow analysis.","tags":["notes"]}` + "\n" +
			`{"username":"ada","title":"Note G","content":"Two lines,\nand a comma.","tags":[]}` + "\n",
	},
}

// exampleRows adds examples to the bodies of imports, because a tool that creates one from
// the schema sends "string".
func exampleRows(path string, content map[string]*huma.MediaType) {
	parts := strings.Split(path, "/")
	for media, body := range content {
		if slices.Contains([]string{mediaCSV, mediaNDJSON}, media) {
			body.Example = rowExamples[parts[2]][media]
		}
	}
}

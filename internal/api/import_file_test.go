package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImport_Files sends real files. If an import does not accept one, the error names the
// reason and has a hint. If no row of a file can be stored, the import fails.
func TestImport_Files(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	post := func(path, body, media string) *answer {
		return c.do("POST", path, body, "Content-Type", media)
	}
	const users, posts = "/v1/users/import", "/v1/posts/import"
	for _, path := range []string{users, posts} {
		p := post(path, `[{"username":"ann","email":"x"}]`, mediaNDJSON).problem(422, codeInvalid, "body")
		if !strings.Contains(p.Errors[0].Message, "it is a JSON array: write one object per line, for example with jq -c '.[]'") {
			t.Errorf("%+v", p)
		}
		post(path, "\ufeff\n[\n{}\n]", mediaCSV).problem(422, codeInvalid, "body")
		p = post(path, "{}\nnot json\n", mediaNDJSON).problem(422, codeRejected, "body.line 1."+map[string]string{users: "username", posts: "title"}[path], "body.line 2")
		if !strings.Contains(p.Detail, "2 of 2 rows were rejected, so nothing was stored") {
			t.Errorf("%+v", p)
		}
		for body, says := range map[string]string{
			"PK\x03\x04\x14\x00\x00\x00": "a zip archive", "\x28\xb5\x2f\xfd\x24\x1f": "zstd", "u\x00s\x00e\x00r\x00": "UTF-16", "username,email\rann,x\r": "CR only",
		} {
			if p := post(path, body, mediaCSV).problem(400, codeInvalidBody); !strings.Contains(p.Detail, says) {
				t.Errorf("%q: %s", body, p.Detail)
			}
		}
	}
	post(users+"?max_rejects=9", "username,email\n,x\n", mediaCSV).problem(422, codeRejected, "body.line 2.username")

	if p := post(users, "Username;Email;Nick\nann;x;n\n", mediaCSV).problem(400, codeInvalidBody); !strings.HasSuffix(p.Detail, " Send it with delimiter=semicolon.") {
		t.Errorf("%s", p.Detail)
	}
	if p := post(users+"?delimiter=%3B", "Username;Email;Nick\nann;x;n\n", mediaCSV).problem(400, codeInvalidBody); !strings.HasSuffix(p.Detail, " Rename it, or send it with ignore_unknown=true.") {
		t.Errorf("%s", p.Detail)
	}
	if p := post(users, `{"username":"ann","email":"x","nick":"n"}`, mediaNDJSON).problem(400, codeInvalidBody); !strings.Contains(p.Detail, `member "nick"`) || !strings.HasSuffix(p.Detail, "ignore_unknown=true.") {
		t.Errorf("%s", p.Detail)
	}
	for i, file := range []struct{ query, body, media string }{
		{"delimiter=%3B&ignore_unknown=true", "Username;Email;Nick\nann1;x;n\n", mediaCSV},
		{"delimiter=semicolon&ignore_unknown=true", "Username;Email;Nick\nann2;x;n\n", mediaCSV},
		{"delimiter=tab", "username\temail\nann3\tx\n", mediaCSV},
		{"delimiter=%09", "username\temail\nann4\tx\n", mediaCSV},
		{"ignore_unknown=true", `{"username":"ann5","email":"x","nick":"n"}`, mediaNDJSON},
		{"", "username,email\nann6,x\n,x\n", mediaCSV},
	} {
		var got Imported
		post(users+"?"+file.query, file.body, file.media).want(200).into(&got)
		if got.Inserted != 1 {
			t.Errorf("%d: %+v", i, got)
		}
	}
	for _, delimiter := range []string{"a", "%22", "%3B%3B", "semi", "%C3%A9"} {
		post(users+"?delimiter="+delimiter, threeUsers, mediaCSV).problem(422, codeInvalid, "query.delimiter")
	}
}

// TestImport_Examples imports the examples of the document. All of their rows must be stored,
// and exports must return exactly their examples.
func TestImport_Examples(t *testing.T) {
	t.Parallel()
	paths := newServer(Config{}).api.OpenAPI().Paths
	for _, media := range []string{mediaCSV, mediaNDJSON} {
		c := newClient(t)
		for _, noun := range []string{"users", "posts"} {
			example := paths["/v1/"+noun+"/import"].Post.RequestBody.Content[media].Example.(string)
			var got Imported
			c.do("POST", "/v1/"+noun+"/import", example, "Content-Type", media).want(200).into(&got)
			if got.Inserted != 2 || got.Rows != 2 {
				t.Errorf("%s of %s: %+v", media, noun, got)
			}
		}
		c.db.Exec(t, "TRUNCATE users CASCADE")
		for _, noun := range []string{"users", "posts"} {
			example := paths["/v1/"+noun+"/export"].Get.Responses["200"].Content[media].Example.(string)
			c.do("POST", "/v1/"+noun+"/import", example, "Content-Type", media).want(200)
			if diff := cmp.Diff(example, c.do("GET", "/v1/"+noun+"/export", "", "Accept", media).want(200).body); diff != "" {
				t.Errorf("%s of %s (-example +export):\n%s", media, noun, diff)
			}
		}
	}
}

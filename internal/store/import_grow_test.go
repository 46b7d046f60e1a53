package store_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"quern/internal/store"
	"quern/internal/storetest"
)

// growing is a file of posts that changes between imports. Only the checkpoints prevent that
// its rows are stored twice.
type growing struct {
	csv     bool
	author  int64
	posts   []growingPost
	newline string
}

type growingPost struct{ title, content string }

// render returns the file without its last cut bytes, and the titles that an import of it
// stores. The title is the last column, so an incomplete row can also be a valid row.
func (g *growing) render(cut int) (text string, titles []string) {
	var b strings.Builder
	if g.csv {
		b.WriteString("content,user_id,title" + g.newline)
	}
	for _, p := range g.posts {
		titles = append(titles, p.title)
		if g.csv {
			fmt.Fprintf(&b, `"%s",%d,%s`, strings.ReplaceAll(p.content, `"`, `""`), g.author, p.title)
		} else {
			line, err := json.Marshal(map[string]any{"content": p.content, "user_id": g.author, "title": p.title})
			if err != nil {
				panic(err)
			}
			b.Write(line)
		}
		b.WriteString(g.newline)
	}
	text = b.String()
	if cut == 0 {
		return text, titles
	}
	last := titles[len(titles)-1]
	text = text[:len(text)-min(cut, len(g.newline))]
	if cut -= len(g.newline); cut <= 0 {
		return text, titles
	}
	if titles = titles[:len(titles)-1]; g.csv && cut < len(last) {
		titles = append(titles, last[:len(last)-cut])
	}
	return text[:len(text)-cut], titles
}

func (g *growing) grow(t *rapid.T, rows int) {
	for range rows {
		g.posts = append(g.posts, growingPost{
			title:   fmt.Sprintf("post %03d", len(g.posts)),
			content: rapid.SampledFrom([]string{"", "x", "two\nlines", "a \"quote\""}).Draw(t, "content"),
		})
	}
}

// TestImport_FileChanges imports a file again and again that grows, is cut short
// in the middle of a row and is edited, and whose imports are interrupted. Each
// import either makes the table equal to the file and reports the exact counts, or
// stores nothing and reports that.
func TestImport_FileChanges(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	author := d.CreateUser(t).ID
	titles := func(t *rapid.T) []string {
		rows, err := d.Router.Pool().Query(context.Background(), "SELECT title FROM posts ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	rapid.Check(t, func(t *rapid.T) {
		if _, err := d.Router.Pool().Exec(context.Background(), "TRUNCATE posts, import_checkpoints CASCADE"); err != nil {
			t.Fatal(err)
		}
		g := &growing{csv: rapid.Bool().Draw(t, "csv"), author: author, newline: "\n"}
		strict := rapid.Bool().Draw(t, "strict")
		g.grow(t, rapid.IntRange(2, 12).Draw(t, "rows at first"))
		for range rapid.IntRange(1, 6).Draw(t, "runs") {
			g.grow(t, rapid.SampledFrom([]int{0, 1, 3, 9}).Draw(t, "more rows"))
			if rapid.IntRange(0, 5).Draw(t, "edit") == 0 {
				g.posts[rapid.IntRange(1, len(g.posts)-1).Draw(t, "edited")].title += "!"
			}
			g.newline = rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "newline")
			cut := rapid.SampledFrom([]int{0, 0, len(g.newline), len(g.newline) + 3, len(g.newline) + 12}).Draw(t, "cut")
			text, want := g.render(cut)
			before := titles(t)

			o := store.ImportOptions{Strict: strict}.WithChunk(rapid.IntRange(1, 8).Draw(t, "chunk"))
			var input io.Reader = strings.NewReader(text)
			broken := rapid.IntRange(0, 3).Draw(t, "broken") == 0
			if broken {
				input = io.MultiReader(strings.NewReader(text[:rapid.IntRange(0, len(text)).Draw(t, "broken at")]), iotest.ErrReader(io.ErrUnexpectedEOF))
			} else if rapid.Bool().Draw(t, "gzip") {
				input = packed(text)
			}
			res, err := d.Store.ImportPosts(context.Background(), input, o)
			after := titles(t)

			if sum := res.Resumed + res.Inserted + res.Updated + res.Unchanged + res.Skipped + res.Rejected; res.Rows != sum && (!strict || err == nil) {
				t.Fatalf("%d rows are not the sum of %+v", res.Rows, res)
			}
			if n := int64(len(after) - len(before)); res.Inserted != n {
				t.Fatalf("%d rows are new, and the import says %+v, %v", n, res, err)
			}
			resumable := len(before) <= len(want) && slices.Equal(before, want[:len(before)])
			switch {
			case errors.Is(err, store.ErrRejected) && strict && cut > len(g.newline), errors.Is(err, store.ErrBeganAlike) && !resumable:
				want = before
			case broken && errors.Is(err, store.ErrInput):
				// If chunks of it can be stored, some of them are.
				if want = want[:min(len(want), len(after))]; !resumable {
					want = before
				}
			case err != nil:
				t.Fatalf("%v, with %d rows stored of %q", err, len(before), text)
			case !resumable && len(want) < len(before) && slices.Equal(want, before[:len(want)]):
				// The file has lost whole chunks at its end.
				want = before
			}
			if !slices.Equal(want, after) {
				t.Fatalf("posts are %q, want %q, of %q", after, want, text)
			}
		}
	})
}

func packed(text string) io.Reader {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return &b
}

// TestImport_BeganAlike changes the options of an import and the rows of the
// table.
func TestImport_BeganAlike(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	row := func(title string) string { return fmt.Sprintf("%d,%s,x\n", u.ID, title) }
	const header = "user_id,title,content\n"
	file := header + row("a") + row("b") + row("c")
	run := func(text string, o store.ImportOptions) (store.ImportResult, error) {
		return d.Store.ImportPosts(t.Context(), strings.NewReader(text), o.WithChunk(2))
	}
	if res, err := run(file, store.ImportOptions{}); err != nil || res.Inserted != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, c := range []struct {
		name, text, says string
		o                store.ImportOptions
	}{
		{"strict", file, "3 rows of an import with the same beginning are stored, with other options (csv of user_id,title,content, on conflict error) than now (csv of user_id,title,content, on conflict error, strict)", store.ImportOptions{Strict: true}},
		{"conflict", file, "on conflict skip)", store.ImportOptions{OnConflict: store.ConflictSkip}},
		{"columns", strings.Replace(file, "title,content", "content,title", 1), "csv of user_id,content,title", store.ImportOptions{}},
		{"second row", header + row("a") + row("B") + row("c"), "3 rows of an import with the same beginning are stored, and this one differs between its rows 1 and 2", store.ImportOptions{}},
		{"last row", header + row("a") + row("b") + row("C"), "after line 3: 3 rows of an import with the same beginning are stored, and this one differs between its rows 3 and 3", store.ImportOptions{}},
		{"row added between", header + row("a") + row("b") + row("x") + row("c"), "differs between its rows 3 and 3", store.ImportOptions{}},
		{"shorter", header + row("a"), "differs between its rows 1 and 2", store.ImportOptions{}},
	} {
		res, err := run(c.text, c.o)
		if !errors.Is(err, store.ErrBeganAlike) || !strings.Contains(err.Error(), c.says) || res.Inserted != 0 {
			t.Errorf("%s: %+v, %v, want an error that says %q", c.name, res, err, c.says)
		}
	}
	d.Exec(t, "DELETE FROM posts")
	if res, err := run(file, store.ImportOptions{}); err != nil || res.Rows != 3 || res.Resumed != 3 {
		t.Errorf("after the rows were deleted: %+v, %v", res, err)
	}
	if res, err := run(file, store.ImportOptions{Key: "again", Strict: true}); err != nil || res.Inserted != 3 {
		t.Errorf("under another key: %+v, %v", res, err)
	}
}

// TestImport_NothingStored changes the options of imports that have stored nothing, so nothing
// can be stored twice.
func TestImport_NothingStored(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	input := fmt.Sprintf("username,email\n%[1]s,a\n%[1]s,b\nnew,c\n", u.Username)
	o := store.ImportOptions{MaxRejects: new(int64(2))}.WithChunk(2)
	cut := strings.TrimSuffix(input, "new,c\n")
	if _, err := d.Store.ImportUsers(t.Context(), strings.NewReader(cut), o); !errors.Is(err, store.ErrRejected) {
		t.Fatal(err)
	}
	if n := d.Count(t, "SELECT count(*) FROM import_checkpoints"); n != 0 {
		t.Errorf("%d checkpoints of an import that has stored nothing", n)
	}
	// An interrupted import leaves a checkpoint.
	broken := io.MultiReader(strings.NewReader(input), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := d.Store.ImportUsers(t.Context(), broken, o); !errors.Is(err, store.ErrInput) {
		t.Fatal(err)
	}
	if n := d.Count(t, "SELECT count(*) FROM import_checkpoints"); n != 1 {
		t.Errorf("%d checkpoints of an interrupted import, want 1", n)
	}
	changed := strings.Replace(input, ",b\n", ",d\n", 1)
	if _, err := d.Store.ImportUsers(t.Context(), io.MultiReader(strings.NewReader(changed), iotest.ErrReader(io.ErrUnexpectedEOF)), o); !errors.Is(err, store.ErrInput) {
		t.Fatal(err)
	}
	o.OnConflict = store.ConflictUpdate
	if res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(input), o); err != nil || res.Inserted != 1 || res.Updated != 2 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestImport_GrowsLate lets a file grow shortly before the checkpoints of its first import
// expire. All checkpoints must be kept as long as those of its last rows.
func TestImport_GrowsLate(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	text := "user_id,title,content\n"
	for n := range 3 {
		text += fmt.Sprintf("%d,post %d,x\n", u.ID, n)
		if _, err := d.Store.ImportPosts(t.Context(), strings.NewReader(text), store.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		d.Exec(t, "UPDATE import_checkpoints SET expires_at = expires_at - interval '23 hours'")
	}
	if n := d.Count(t, "SELECT count(*) FROM import_checkpoints WHERE expires_at > now() + interval '59 minutes'"); n != 3 {
		t.Errorf("%d of 3 checkpoints are kept for an hour more", n)
	}
	d.Exec(t, "UPDATE import_checkpoints SET expires_at = now() - interval '1 second'")
	if res, err := d.Store.ImportPosts(t.Context(), strings.NewReader(text), store.ImportOptions{}); err != nil || res.Inserted != 3 {
		t.Errorf("after its time: %+v, %v", res, err)
	}
}

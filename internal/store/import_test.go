package store_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// imported runs an import and returns its result and its rejects. The import must not fail
// unless all of its rows are rejected.
func imported(t *testing.T, d *storetest.DB, what, input string, o store.ImportOptions) (store.ImportResult, []string) {
	t.Helper()
	var rejects []string
	o.Rejected = func(r store.Reject) error {
		rejects = append(rejects, strings.TrimSuffix(string(r.AppendNDJSON(nil)), "\n"))
		return nil
	}
	act := d.Store.ImportUsers
	if what == "posts" {
		act = d.Store.ImportPosts
	}
	res, err := act(t.Context(), strings.NewReader(input), o)
	if all := res.Rejected == res.Rows && res.Rows > 0; err != nil && !(all && errors.Is(err, store.ErrRejected)) {
		t.Fatal(err)
	}
	return res, rejects
}

func TestImportUsers(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	res, rejects := imported(t, d, "users", "\ufeffage,username,email,tags\r\n"+
		"31,ann,ann@example.com,\"[\"\"a\"\"]\"\r\n"+
		"\n"+
		",\"bob\nby\",\"b,ob\",\n"+
		"151,cy,c,\n"+
		"x,dee,d,\n"+
		"3,\"eve,e,\n"+
		"3,fay,f,\n"+
		"3,fay,g,\n", store.ImportOptions{})
	if diff := cmp.Diff(store.ImportResult{Rows: 7, Inserted: 3, Rejected: 4, Line: 10}, res); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		`{"_reject":{"line":6,"field":"age","reason":"is not between 0 and 150"},"age":151,"username":"cy","email":"c","tags":null}`,
		`{"_reject":{"line":7,"field":"age","reason":"is not an integer"},"age":"x","username":"dee","email":"d","tags":null}`,
		`{"_reject":{"line":8,"field":"","reason":"has a quote that is not closed"},"_raw":"3,\"eve,e,"}`,
		`{"_reject":{"line":10,"field":"username","reason":"is on line 9 already"},"age":3,"username":"fay","email":"g","tags":null}`,
	}, rejects); diff != "" {
		t.Error(diff)
	}
	if n := d.Count(t, "SELECT count(*) FROM users WHERE username = E'bob\nby' AND email = 'b,ob' AND age IS NULL AND tags = '[]'"); n != 1 {
		t.Error("bob is not as given")
	}
}

func TestImportPosts(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	ann, bob := d.CreateUser(t), d.CreateUser(t)
	input := fmt.Sprintf(`{"user_id":%d,"title":"one","content":"","tags":["a"]}
{"username":%q,"title":"two","content":"x"}
{"username":"nobody","title":"three","content":""}
{"user_id":999999,"title":"four","content":""}
{"user_id":%d,"username":%q,"title":"five","content":""}
{"title":"six","content":""}
{"user_id":%d,"title":"","content":""}
{"user_id":%d,"title":"eight","content":null}
{"user_id":%d,"title":"nine","content":"","tags":[1]}
not JSON
{"user_id":%d,"title":"ten","content":"","_comment":{"any":["thing"]}}
`, ann.ID, bob.Username, ann.ID, bob.Username, ann.ID, ann.ID, ann.ID, bob.ID)
	res, rejects := imported(t, d, "posts", input, store.ImportOptions{})
	if diff := cmp.Diff(store.ImportResult{Rows: 11, Inserted: 3, Rejected: 8, Line: 11}, res); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{
		`"line":3,"field":"username","reason":"is not the name of a user"`,
		`"line":4,"field":"user_id","reason":"is not the id of a user"`,
		fmt.Sprintf(`"line":5,"field":"user_id","reason":"is not the id of %s, which is %d"`, bob.Username, bob.ID),
		`"line":6,"field":"user_id","reason":"is required, or username"`,
		`"line":7,"field":"title","reason":"is empty"`,
		`"line":8,"field":"content","reason":"is required`,
		`"line":9,"field":"tags","reason":"is not a JSON array of strings`,
		`"line":10,"field":"","reason":"is not a JSON object"},"_raw":"not JSON"`,
	} {
		if !strings.HasPrefix(rejects[i], `{"_reject":{`+want) {
			t.Errorf("reject %d: %s, want %s", i, rejects[i], want)
		}
	}
	// Rejected rows can be corrected and imported.
	mended := strings.Replace(rejects[1], `"user_id":999999`, fmt.Sprintf(`"user_id":%d`, ann.ID), 1)
	if res, rejects := imported(t, d, "posts", mended, store.ImportOptions{}); res.Inserted != 1 {
		t.Errorf("%+v, %s", res, rejects)
	}
	posts, err := d.Queries.ListPostsOfUsersAfter(t.Context(), db.ListPostsOfUsersAfterParams{RowLimit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range posts {
		got = append(got, fmt.Sprintf("%t %s %q %q", p.UserID == ann.ID, p.Title, p.Content, p.Tags))
	}
	if diff := cmp.Diff([]string{`true one "" ["a"]`, `true four "" []`, `false two "x" []`, `false ten "" []`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestImportPosts_Conflicts(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	a := d.CreatePost(t, u.ID, func(p *db.CreatePostParams) { p.Tags = []string{"kept"} })
	input := fmt.Sprintf("id,user_id,title,content\n%d,%d,new,c\n%d,%d,high,c\n%d,%d,again,c\n,%d,no id,c\n",
		a.ID, u.ID, a.ID+100, u.ID, a.ID, u.ID, u.ID)
	for _, c := range []struct {
		mode store.OnConflict
		want store.ImportResult
	}{
		{store.ConflictError, store.ImportResult{Rows: 4, Inserted: 2, Rejected: 2, Line: 5}},
		{store.ConflictSkip, store.ImportResult{Rows: 4, Inserted: 1, Skipped: 3, Line: 5}},
		{store.ConflictUpdate, store.ImportResult{Rows: 4, Inserted: 1, Updated: 2, Unchanged: 1, Line: 5}},
	} {
		if got, _ := imported(t, d, "posts", input, store.ImportOptions{OnConflict: c.mode, Key: string(c.mode)}); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.mode, got, c.want)
		}
	}
	p, err := d.Queries.GetPost(t.Context(), a.ID)
	if err != nil || p.Title != "again" || p.Version != 2 || !slices.Equal(p.Tags, []string{"kept"}) {
		t.Errorf("%+v, %v", p, err)
	}
	if next := d.CreatePost(t, u.ID); next.ID <= a.ID+100 {
		t.Errorf("the next id is %d, behind %d", next.ID, a.ID+100)
	}
}

func TestImportUsers_IDs(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	ann, bob := d.CreateUser(t), d.CreateUser(t)
	input := fmt.Sprintf("id,username,email\n%d,%s,new\n%d,cy,c\n%d,%s,x\n5000000,dee,d\n5000000,eve,e\n0,fay,f\n%d,gus,g\n,hal,h\n",
		ann.ID, ann.Username, bob.ID, bob.ID+7, bob.Username, store.MaxID+1)
	res, rejects := imported(t, d, "users", input, store.ImportOptions{OnConflict: store.ConflictUpdate})
	if res.Inserted != 2 || res.Updated != 1 || res.Rejected != 5 {
		t.Errorf("%+v", res)
	}
	for i, want := range []string{
		"is the id of another user", fmt.Sprintf("is not the id of this user, which is %d", bob.ID),
		"is the id of another user on line 5", "is not between 1 and", "is not between 1 and",
	} {
		if !strings.Contains(rejects[i], `"field":"id","reason":"`+want) {
			t.Errorf("%s, want %s", rejects[i], want)
		}
	}
	if next := d.CreateUser(t); next.ID <= 5000000 {
		t.Errorf("the next id is %d", next.ID)
	}
}

func TestImport_Options(t *testing.T) {
	t.Parallel()
	const good, bad = "username,email\nann,a\nbob,b\ncy,c\n", "username,email\nann,a\n,b\ncy,c\nann,d\n"
	users := func(d *storetest.DB, input string, o store.ImportOptions) (store.ImportResult, error) {
		return d.Store.ImportUsers(t.Context(), strings.NewReader(input), o)
	}
	count := func(t *testing.T, d *storetest.DB, want int) {
		t.Helper()
		if n := d.Count(t, "SELECT count(*) FROM users"); n != want {
			t.Errorf("%d users, want %d", n, want)
		}
	}

	t.Run("Strict", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		var told int
		o := store.ImportOptions{Strict: true, Rejected: func(store.Reject) error { told++; return nil }}.WithChunk(2)
		res, err := users(d, bad, o)
		if !errors.Is(err, store.ErrRejected) || res.Rejected != 2 || res.Inserted != 0 || told != 2 {
			t.Errorf("%+v, %d told of, %v", res, told, err)
		}
		count(t, d, 0)
		// One reader is not at its start, and the other one cannot seek.
		r := strings.NewReader("x" + good)
		if _, err := r.ReadByte(); err != nil {
			t.Fatal(err)
		}
		if res, err := d.Store.ImportUsers(t.Context(), r, o); err != nil || res.Inserted != 3 {
			t.Errorf("%+v, %v", res, err)
		}
		if res, err := d.Store.ImportUsers(t.Context(), io.MultiReader(strings.NewReader(good)), o); err != nil || res.Resumed != 3 {
			t.Errorf("%+v, %v", res, err)
		}
		count(t, d, 3)
	})

	t.Run("MaxRejects", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		o := store.ImportOptions{MaxRejects: new(int64(1))}.WithChunk(2)
		res, err := users(d, bad, o)
		if !errors.Is(err, store.ErrTooManyRejects) || res.Rows != 2 || res.Inserted != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		count(t, d, 1)
		o.MaxRejects = new(int64(2))
		if res, err := users(d, bad, o); err != nil || res.Resumed != 2 || res.ResumedRejected != 1 || res.Inserted != 1 || res.Rejected != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		count(t, d, 2)
	})

	t.Run("OnceUnlessNamed", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		u := d.CreateUser(t)
		posts := fmt.Sprintf("user_id,title,content\n%d,t,c\n", u.ID)
		for _, c := range []struct {
			input, key string
			strict     bool
			err        error
			want       int
		}{
			{posts, "", false, nil, 1},
			{posts, "", false, nil, 1},
			{posts, "again", false, nil, 2},
			{posts, "again", false, nil, 2},
			{posts, "again", true, store.ErrBeganAlike, 2},
			{posts, "strict", true, nil, 3},
			{posts + fmt.Sprintf("%d,u,c\n", u.ID), "", false, nil, 4},
		} {
			if _, err := d.Store.ImportPosts(t.Context(), strings.NewReader(c.input), store.ImportOptions{Key: c.key, Strict: c.strict}); !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if n := d.Count(t, "SELECT count(*) FROM posts"); n != c.want {
				t.Errorf("%+v: %d posts", c, n)
			}
		}
		d.Exec(t, "UPDATE import_checkpoints SET expires_at = now() - interval '1 second'")
		if _, err := d.Store.ImportPosts(t.Context(), strings.NewReader(fmt.Sprintf("user_id,title,content\n%d,x,y\n", u.ID)), store.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := d.Count(t, "SELECT count(*) FROM import_checkpoints"); n != 1 {
			t.Errorf("%d checkpoints are left, want the last import's", n)
		}
	})

	t.Run("RejectedFails", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		full := errors.New("disk full")
		if _, err := users(d, bad, store.ImportOptions{Rejected: func(store.Reject) error { return full }}); !errors.Is(err, full) {
			t.Errorf("err = %v", err)
		}
	})

	t.Run("ContextEnds", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		for _, strict := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			ended := make(chan error, 1)
			go func() {
				_, err := d.Store.ImportUsers(ctx, r, store.ImportOptions{Strict: strict})
				ended <- err
			}()
			// The reader waits for more input when the context ends.
			if _, err := io.WriteString(w, good); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("err = %v, want that of the context", err)
			}
			w.Close()
		}
		count(t, d, 0)
	})

	t.Run("Input", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := io.WriteString(z, good); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		for name, input := range map[string]string{
			"NoEmail":   "username\nann\n",
			"Unknown":   "username,email,Agee\n",
			"Twice":     "username,email,email\n",
			"Array":     `[{"username":"ann"}]`,
			"UTF16":     "\xff\xfeu\x00",
			"HalfGzip":  packed.String()[:packed.Len()-4],
			"NoGzip":    "\x1f\x8busername",
			"BadHeader": "\"username,email\n",
		} {
			_, err := users(d, input, store.ImportOptions{})
			if !errors.Is(err, store.ErrInput) {
				t.Errorf("%s: err = %v, want ErrInput", name, err)
			}
		}
		if _, err := users(d, "", store.ImportOptions{Format: store.FormatCSV}); !errors.Is(err, store.ErrInput) {
			t.Errorf("empty CSV: %v", err)
		}
		for _, input := range []string{"", "username,email\n", " \n\n"} {
			if res, err := users(d, input, store.ImportOptions{}); err != nil || res.Rows != 0 {
				t.Errorf("%q: %+v, %v", input, res, err)
			}
		}
		count(t, d, 0)
		if res, err := users(d, packed.String(), store.ImportOptions{}); err != nil || res.Inserted != 3 {
			t.Errorf("gzip: %+v, %v", res, err)
		}
		if _, err := users(d, good, store.ImportOptions{Format: "xml"}); err == nil {
			t.Error("xml: no error")
		}
		if _, err := users(d, good, store.ImportOptions{OnConflict: "merge"}); err == nil {
			t.Error("merge: no error")
		}
	})
}

// TestImport_Rules compares the rules of an import with those of the tables. An import must
// accept the limits of the tables and reject values just beyond them.
func TestImport_Rules(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	long := func(n int) string { return strings.Repeat("é", n) }
	for _, c := range []struct {
		name                 string
		username, email, age string
		ok                   bool
	}{
		{"longest", long(store.MaxUsername), long(store.MaxEmail), strconv.Itoa(store.MaxAge), true},
		{"username", long(store.MaxUsername + 1), "x", "1", false},
		{"email", "b", long(store.MaxEmail + 1), "1", false},
		{"age", "c", "x", strconv.Itoa(store.MaxAge + 1), false},
		{"negative", "d", "x", "-1", false},
		{"no username", "", "x", "1", false},
		{"zero", "e", "x", "0", true},
	} {
		_, err := d.Router.Pool().Exec(t.Context(), "INSERT INTO users (username, email, age) VALUES ($1, $2, $3::int)", c.username, c.email, c.age)
		if (err == nil) != c.ok {
			t.Errorf("%s: the table says %v", c.name, err)
		}
		d.Exec(t, "DELETE FROM users")
		res, _ := imported(t, d, "users", fmt.Sprintf("username,email,age\n\"%s\",%s,%s\n", c.username, c.email, c.age), store.ImportOptions{})
		if (res.Inserted == 1) != c.ok {
			t.Errorf("%s: the import did %+v", c.name, res)
		}
		d.Exec(t, "DELETE FROM users")
	}
	u := d.CreateUser(t)
	for n, ok := range map[int]bool{store.MaxTitle: true, store.MaxTitle + 1: false} {
		_, err := d.Router.Pool().Exec(t.Context(), "INSERT INTO posts (user_id, title, content) VALUES ($1, $2, '')", u.ID, long(n))
		res, _ := imported(t, d, "posts", fmt.Sprintf("user_id,title,content\n%d,%s,x\n", u.ID, long(n)), store.ImportOptions{})
		if (err == nil) != ok || (res.Inserted == 1) != ok {
			t.Errorf("title of %d: the table says %v, the import did %+v", n, err, res)
		}
	}
}

// TestImport_Concurrent imports files that overlap, each in another order and some of them
// twice at the same time. None must fail, and each user must have the values of one of the
// files.
func TestImport_Concurrent(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 8})
	const users, files = 500, 4
	var all sync.WaitGroup
	results := make([]store.ImportResult, 2*files)
	for i := range 2 * files {
		file := i % files
		var b strings.Builder
		b.WriteString("username,email\n")
		r := rand.New(rand.NewPCG(uint64(file), 0))
		for _, n := range r.Perm(users) {
			fmt.Fprintf(&b, "user%d,file%d\n", n, file)
		}
		all.Go(func() {
			res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(b.String()), store.ImportOptions{OnConflict: store.ConflictUpdate}.WithChunk(50))
			if err != nil {
				t.Error(err)
			}
			results[i] = res
		})
	}
	all.Wait()
	inserted, updated := int64(0), int64(0)
	for i, r := range results {
		if r.Rows != users || r.Inserted+r.Updated+r.Resumed != users {
			t.Errorf("%d: %+v", i, r)
		}
		inserted += r.Inserted
		updated += r.Updated
	}
	if n := d.Count(t, "SELECT count(*) FROM users WHERE email LIKE 'file_'"); n != users || inserted != users {
		t.Errorf("%d users and %d inserted, want %d", n, inserted, users)
	}
	// Each file changed each user at most once, even if it was imported several times.
	if n := d.Count(t, "SELECT count(*) FROM users WHERE version <> $1", files); n != 0 || updated != (files-1)*users {
		t.Errorf("%d users were not written %d times; %d updates", n, files, updated)
	}
}

// TestImport_SameTwiceAtOnce imports the same posts twice at the same time. They have no ids,
// so only the checkpoints prevent that they are stored twice.
func TestImport_SameTwiceAtOnce(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 8})
	u := d.CreateUser(t)
	var b strings.Builder
	b.WriteString("user_id,title,content\n")
	const posts = 400
	for n := range posts {
		fmt.Fprintf(&b, "%d,post %d,x\n", u.ID, n)
	}
	var all sync.WaitGroup
	var inserted atomic.Int64
	for range 6 {
		all.Go(func() {
			res, err := d.Store.ImportPosts(t.Context(), strings.NewReader(b.String()), store.ImportOptions{}.WithChunk(20))
			if err != nil || res.Rows != posts || res.Inserted+res.Resumed != posts {
				t.Errorf("%+v, %v", res, err)
			}
			inserted.Add(res.Inserted)
		})
	}
	all.Wait()
	if inserted.Load() != posts {
		t.Errorf("the runs say that they inserted %d posts, want %d", inserted.Load(), posts)
	}
	if n := d.Count(t, "SELECT count(*) FROM posts"); n != posts {
		t.Errorf("%d posts, want %d", n, posts)
	}
}

// TestImport_AuthorsLeave imports posts while their authors are deleted.
func TestImport_AuthorsLeave(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 8})
	const authors = 300
	d.Exec(t, "INSERT INTO users (username, email) SELECT 'u' || n, 'x' FROM generate_series(1, $1) AS n", authors)
	var b strings.Builder
	b.WriteString("username,title,content\n")
	for n := range 10 * authors {
		fmt.Fprintf(&b, "u%d,t,c\n", 1+n%authors)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := range authors {
			if n%3 == 0 {
				d.Exec(t, "DELETE FROM users WHERE username = 'u' || $1::int", 1+n)
			}
		}
	})
	res, err := d.Store.ImportPosts(t.Context(), strings.NewReader(b.String()), store.ImportOptions{}.WithChunk(100))
	all.Wait()
	if err != nil || res.Rows != 10*authors || res.Inserted+res.Rejected != res.Rows {
		t.Errorf("%+v, %v", res, err)
	}
	if n := d.Count(t, "SELECT count(*) FROM posts"); n != 10*authors*2/3 {
		t.Errorf("%d posts, want those of the users who stayed", n)
	}
}

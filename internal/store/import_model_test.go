package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"quern/internal/store"
	"quern/internal/storetest"
)

// modelUser is a user in the model of an import. A nil field was not in the input.
type modelUser struct {
	Username string    `json:"username"`
	Email    string    `json:"email"`
	Age      **int     `json:"age,omitempty"`
	Tags     *[]string `json:"tags,omitempty"`
	bad      bool      // its email is too long
}

// stored is a user in the model's table.
type stored struct {
	Username, Email, Age, Tags string
	Version                    int
}

// model is an import that stores one row at a time in a map.
type model map[string]stored

func (m model) add(u modelUser, mode store.OnConflict, res *store.ImportResult) {
	res.Rows++
	old, exists := m[u.Username]
	switch {
	case u.bad, exists && mode == store.ConflictError:
		res.Rejected++
		return
	case exists && mode == store.ConflictSkip:
		res.Skipped++
		return
	}
	row := old
	if !exists {
		row = stored{Username: u.Username, Age: "-", Tags: "[]", Version: 1}
	}
	row.Email = u.Email
	if u.Age != nil {
		row.Age = "-"
		if *u.Age != nil {
			row.Age = strconv.Itoa(**u.Age)
		}
	}
	if u.Tags != nil {
		b, err := json.Marshal(*u.Tags)
		if err != nil {
			panic(err)
		}
		row.Tags = string(b)
	}
	switch {
	case !exists:
		res.Inserted++
	case row == old:
		res.Unchanged++
		return
	default:
		row.Version = old.Version + 1
		res.Updated++
	}
	m[u.Username] = row
}

func drawUser(t *rapid.T, csv bool) modelUser {
	u := modelUser{
		Username: rapid.SampledFrom([]string{"ann", "bob", "cy", "dée", "e,\"e", "f\nf"}).Draw(t, "username"),
		Email:    rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "email"),
		bad:      rapid.IntRange(0, 9).Draw(t, "bad") == 0,
	}
	if u.bad {
		u.Email = strings.Repeat("é", 101)
	}
	if csv || rapid.Bool().Draw(t, "has age") {
		u.Age = new(*int)
		if rapid.Bool().Draw(t, "age is not null") {
			*u.Age = new(rapid.IntRange(0, 3).Draw(t, "age"))
		}
	}
	if !csv && rapid.Bool().Draw(t, "has tags") {
		u.Tags = new([]string)
		*u.Tags = rapid.SampledFrom([][]string{{}, {"a"}, {"<", "\""}}).Draw(t, "tags")
	}
	return u
}

// write writes users in a format that an import reads.
func write(users []modelUser, csv bool) string {
	var b bytes.Buffer
	if csv {
		b.WriteString("email,age,username\n")
	}
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	for _, u := range users {
		if csv {
			age := ""
			if *u.Age != nil {
				age = strconv.Itoa(**u.Age)
			}
			fmt.Fprintf(&b, "%s,%s,%s\n", u.Email, age, quote(u.Username))
			continue
		}
		line, err := json.Marshal(u)
		if err != nil {
			panic(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// TestImportUsers_Model imports random files with random options, and compares every count and
// every row with a model that processes the rows one by one. The chunks are small, so that rows
// of one user are in the same chunk as well as in different ones.
func TestImportUsers_Model(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		if _, err := d.Router.Pool().Exec(context.Background(), "TRUNCATE users, import_checkpoints RESTART IDENTITY CASCADE"); err != nil {
			t.Fatal(err)
		}
		m := model{}
		for run := range rapid.IntRange(1, 3).Draw(t, "runs") {
			csv := rapid.Bool().Draw(t, "csv")
			mode := rapid.SampledFrom([]store.OnConflict{store.ConflictError, store.ConflictSkip, store.ConflictUpdate}).Draw(t, "mode")
			var users []modelUser
			for range rapid.IntRange(0, 40).Draw(t, "rows") {
				users = append(users, drawUser(t, csv))
			}
			o := store.ImportOptions{
				OnConflict: mode, Key: fmt.Sprint(run),
				Strict: rapid.Bool().Draw(t, "strict") && !slices.ContainsFunc(users, func(u modelUser) bool { return u.bad }) && mode != store.ConflictError,
			}.WithChunk(rapid.IntRange(1, 8).Draw(t, "chunk"))
			var want store.ImportResult
			for _, u := range users {
				m.add(u, mode, &want)
			}
			var rejected int64
			o.Rejected = func(store.Reject) error { rejected++; return nil }
			got, err := d.Store.ImportUsers(context.Background(), strings.NewReader(write(users, csv)), o)
			if all := want.Rows > 0 && want.Rejected == want.Rows; all != errors.Is(err, store.ErrRejected) || err != nil && !all {
				t.Fatal(err)
			}
			want.Line = got.Line
			// Several changes of one user in a chunk are applied at once, and may cancel each
			// other.
			for _, r := range []*store.ImportResult{&want, &got} {
				r.Unchanged += r.Updated
				r.Updated = 0
			}
			if diff := cmp.Diff(want, got); diff != "" || rejected != want.Rejected {
				t.Fatalf("%d rejects told of (-want +got):\n%s", rejected, diff)
			}
		}
		rows, err := d.Router.Pool().Query(context.Background(), "SELECT username, email, COALESCE(age::text, '-'), replace(tags::text, ' ', ''), version FROM users")
		if err != nil {
			t.Fatal(err)
		}
		got := model{}
		for rows.Next() {
			var u stored
			if err := rows.Scan(&u.Username, &u.Email, &u.Age, &u.Tags, &u.Version); err != nil {
				t.Fatal(err)
			}
			got[u.Username] = u
		}
		for name, u := range m {
			// The model writes JSON as Go does.
			u.Tags = strings.ReplaceAll(u.Tags, `\u003c`, "<")
			if v := got[name].Version; v >= 1 && v < u.Version {
				u.Version = v // as above
			}
			m[name] = u
		}
		if diff := cmp.Diff(m, got); diff != "" || rows.Err() != nil {
			t.Fatalf("%v, users (-want +got):\n%s", rows.Err(), diff)
		}
	})
}

// TestExport_Import exports random users and posts, imports them into another
// database, and compares all columns of both.
func TestExport_Import(t *testing.T) {
	t.Parallel()
	from, to := storetest.New(t), storetest.New(t)
	character := rapid.OneOf(
		rapid.SampledFrom([]rune("a \",'\\\n\r\t;{}[]\x01\x7f\u00a0\u2028\ufeff\ufffdé😀")),
		rapid.Rune().Filter(func(r rune) bool { return r != 0 }))
	text := func(least, most int) *rapid.Generator[string] { return rapid.StringOfN(character, least, most, -1) }
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		exec := func(d *storetest.DB, sql string, args ...any) {
			if _, err := d.Router.Pool().Exec(ctx, sql, args...); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range []*storetest.DB{from, to} {
			exec(d, "TRUNCATE users, posts, import_checkpoints RESTART IDENTITY CASCADE")
		}
		n := rapid.IntRange(0, 8).Draw(t, "users")
		names := rapid.SliceOfNDistinct(text(1, 50), n, n, rapid.ID[string]).Draw(t, "usernames")
		for i, name := range names {
			var age *int
			if rapid.Bool().Draw(t, "has age") {
				age = new(rapid.IntRange(0, 150).Draw(t, "age"))
			}
			tags := rapid.SliceOfN(text(0, 5), 0, 3).Draw(t, "tags")
			exec(from, `INSERT INTO users (id, username, email, age, tags, created_at, updated_at, version) OVERRIDING SYSTEM VALUE
				VALUES ($1, $2, $3, $4, $5, now() - random() * interval '9 years', now() - random() * interval '1 day', $6)`,
				10*i+rapid.IntRange(1, 10).Draw(t, "id"), name, text(1, 20).Draw(t, "email"), age, tags, rapid.IntRange(1, 9).Draw(t, "version"))
			for range rapid.IntRange(0, 2).Draw(t, "posts") {
				exec(from, `INSERT INTO posts (user_id, title, content, tags) SELECT id, $2, $3, $4 FROM users WHERE username = $1`,
					name, text(1, 30).Draw(t, "title"), text(0, 60).Draw(t, "content"), tags)
			}
		}
		format := rapid.SampledFrom([]store.Format{store.FormatCSV, store.FormatNDJSON}).Draw(t, "format")
		mode := rapid.SampledFrom([]store.OnConflict{store.ConflictError, store.ConflictSkip, store.ConflictUpdate}).Draw(t, "mode")
		// Import them twice. The second time every row exists already, and the key shows that.
		for _, key := range []string{"1", "2"} {
			o := store.ImportOptions{Format: format, OnConflict: mode, Key: key}.WithChunk(3)
			o.Rejected = func(r store.Reject) error {
				if mode != store.ConflictError || key == "1" {
					t.Errorf("rejected: %s", r.AppendNDJSON(nil))
				}
				return nil
			}
			var users, posts bytes.Buffer
			if _, err := from.Store.ExportUsers(ctx, &users, store.UserFilter{}, store.ExportOptions{Format: format}); err != nil {
				t.Fatal(err)
			}
			if _, err := from.Store.ExportPosts(ctx, &posts, store.PostFilter{}, store.ExportOptions{Format: format}); err != nil {
				t.Fatal(err)
			}
			// All rows may exist already.
			if _, err := to.Store.ImportUsers(ctx, &users, o); err != nil && !(key == "2" && errors.Is(err, store.ErrRejected)) {
				t.Fatal(err)
			}
			if _, err := to.Store.ImportPosts(ctx, &posts, o); err != nil && !(key == "2" && errors.Is(err, store.ErrRejected)) {
				t.Fatal(err)
			}
		}
		for _, query := range []string{
			"SELECT COALESCE(string_agg(u::text, '|' ORDER BY id), '') FROM users u", "SELECT COALESCE(string_agg(p::text, '|' ORDER BY id), '') FROM posts p",
		} {
			var want, got string
			for d, text := range map[*storetest.DB]*string{from: &want, to: &got} {
				if err := d.Router.Pool().QueryRow(ctx, query).Scan(text); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("(-exported +imported):\n%s", diff)
			}
		}
		// The ids that are generated for new rows must be free.
		if n > 0 {
			exec(to, "INSERT INTO users (username, email) VALUES (repeat('n', 49), 'x')")
			exec(to, "INSERT INTO posts (user_id, title, content) SELECT min(id), 't', '' FROM users")
		}
	})
}

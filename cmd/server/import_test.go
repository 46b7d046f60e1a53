package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/internal/storetest"
)

// TestImport_Killed kills imports with SIGKILL at random points, runs them again, and compares
// the table with the file. Between two runs the file may grow, so some imports reach the end of
// its present content, which can be in the middle of a row. The posts have no ids, so only the
// checkpoints prevent that a row is stored twice. `go test` kills ten imports, and
// QUERN_FAULTS=long kills fifty.
func TestImport_Killed(t *testing.T) {
	t.Parallel()
	kills := 10
	if os.Getenv("QUERN_FAULTS") == "long" {
		kills = 50
	}
	for _, format := range []string{"csv", "ndjson"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			k := newKillTest(t, format)
			resumed := 0
			for left := kills / 2; left > 0; {
				k.sql("TRUNCATE posts, import_checkpoints RESTART IDENTITY CASCADE")
				// Some imports are killed more than once before they complete.
				there := 0
				for range min(left, 1+rand.IntN(3)) {
					there += rand.IntN(len(k.text) - there)
					k.kill(there)
					left--
					if rand.IntN(2) == 0 {
						there += rand.IntN(len(k.text) - there)
						k.feed(there)
					}
				}
				out := k.run()
				if strings.Contains(out, "resumed after row") {
					resumed++
				}
				k.compare()
			}
			if resumed == 0 {
				t.Error("no import went on where it had stopped")
			}
			// Import it once more when it is complete.
			if out := k.run(); !strings.Contains(out, "because this file was imported at") {
				t.Errorf("again: %s", out)
			}
			k.compare()
		})
	}
}

// killTest is a file of posts, and the database that it is imported into.
type killTest struct {
	t    *testing.T
	exe  string
	env  []string
	file string
	text string
	want []string // title, author and content of each post
	conn *pgx.Conn
}

func newKillTest(t *testing.T, format string) *killTest {
	t.Helper()
	k := &killTest{t: t}
	var err error
	if k.exe, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	url := storetest.NewURL(t)
	k.env = append(environment(), "DATABASE_URL="+url)
	if k.conn, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.conn.Close(context.WithoutCancel(t.Context())) })
	k.sql("INSERT INTO users (username, email) SELECT 'user' || n, 'x' FROM generate_series(0, 99) AS n")

	var b strings.Builder
	if format == "csv" {
		b.WriteString("title,username,content\n")
	}
	for n := range 45_000 {
		title, author := fmt.Sprintf("post %d", n), fmt.Sprintf("user%d", n*n%100)
		content := strings.Repeat("words, \"quoted\"\n", n%5)
		k.want = append(k.want, title+"|"+author+"|"+content)
		if format == "csv" {
			fmt.Fprintf(&b, "%s,%s,\"%s\"\n", title, author, strings.ReplaceAll(content, `"`, `""`))
			continue
		}
		line, err := json.Marshal(map[string]string{"title": title, "username": author, "content": content})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	k.text = b.String()
	k.file = filepath.Join(t.TempDir(), "posts."+format)
	if err := os.WriteFile(k.file, []byte(k.text), 0o644); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *killTest) sql(statement string) {
	k.t.Helper()
	if _, err := k.conn.Exec(k.t.Context(), statement); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killTest) command(file string) *exec.Cmd {
	cmd := exec.Command(k.exe, "import", "posts", file)
	cmd.Env = k.env
	cmd.Dir = filepath.Dir(k.file)
	return cmd
}

// kill sends an import the first n bytes, and kills it when it has read them.
func (k *killTest) kill(n int) {
	k.t.Helper()
	cmd := k.command("-")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	if _, err := stdin.Write([]byte(k.text[:n])); err != nil {
		k.t.Fatalf("%v: %s", err, stderr.String())
	}
	if err := cmd.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		k.t.Fatal("it ended before it was killed")
	}
}

// feed imports the first n bytes, as if the file had only these so far. An incomplete row is
// rejected. The cut is never between the two characters of a doubled quote, because the row
// would then be complete, with another value.
func (k *killTest) feed(n int) {
	k.t.Helper()
	for n > 0 && n < len(k.text) && k.text[n-1] == '"' {
		n++
	}
	cmd := k.command("-")
	cmd.Stdin = strings.NewReader(k.text[:n])
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && !strings.Contains(stderr.String(), "rows were rejected") &&
		!strings.Contains(stderr.String(), "the input cannot be read") {
		k.t.Fatalf("%v: %s", err, stderr.String())
	}
}

// run imports the file to its end.
func (k *killTest) run() string {
	k.t.Helper()
	out, err := k.command(k.file).Output()
	if err != nil {
		exit := new(exec.ExitError)
		errors.As(err, &exit)
		k.t.Fatalf("%v: %s", err, exit.Stderr)
	}
	return string(out)
}

// compare compares the table with the file, row by row, both in the order of the file.
func (k *killTest) compare() {
	k.t.Helper()
	rows, err := k.conn.Query(k.t.Context(), "SELECT concat_ws('|', title, username, content) FROM posts JOIN users ON users.id = user_id ORDER BY posts.id")
	if err != nil {
		k.t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		k.t.Fatal(err)
	}
	if !slices.Equal(k.want, got) {
		k.t.Fatalf("%d posts, want the %d of the file: %s", len(got), len(k.want), firstDifference(k.want, got))
	}
}

func firstDifference(want, got []string) string {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Sprintf("post %d (-want +got):\n%s", i, cmp.Diff(want[i], got[i]))
		}
	}
	return "one is the beginning of the other"
}

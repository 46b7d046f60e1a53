package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
)

// pairs is a source of rows with an email of any type, as generated code has one.
type pairs[E any] struct {
	names  []string
	emails []E
	at     int
	fail   error
	next   func(at int) // called for each row
}

func (p *pairs[E]) Next() bool {
	p.at++
	if p.next != nil {
		p.next(p.at)
	}
	return p.at <= len(p.names) && (p.fail == nil || p.at < len(p.names))
}

func (p *pairs[E]) Values() ([]any, error) {
	return []any{p.names[p.at-1], p.emails[p.at-1]}, nil
}

func (p *pairs[E]) Pointers(to []any) []any {
	return append(to, &p.names[p.at-1], &p.emails[p.at-1])
}
func (p *pairs[E]) Err() error { return p.fail }

// stringer is a type that only pgx can encode.
type stringer struct{ text string }

func (s stringer) String() string { return s.text }

func namesOf(n int) (names, emails []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("user %06d", i))
		emails = append(emails, strings.Repeat("ü", i%100+1))
	}
	return names, emails
}

func TestCopyFrom_Encoded(t *testing.T) {
	t.Parallel()
	columns := []string{"username", "email"}
	stored := func(t *testing.T, d *testdata.DB) (all []string) {
		rows, err := d.Router.Pool().Query(t.Context(), "SELECT username || ' ' || email FROM accounts ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		if all, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
		return all
	}

	// More rows than one message, of all lengths, so that rows are divided anywhere.
	t.Run("Rows", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		names, emails := namesOf(5000)
		n, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, columns, &pairs[string]{names: names, emails: emails})
		if err != nil || n != 5000 {
			t.Fatal(n, err)
		}
		var want []string
		for i := range names {
			want = append(want, names[i]+" "+emails[i])
		}
		if diff := cmp.Diff(want, stored(t, d)); diff != "" {
			t.Errorf("rows (-given +stored):\n%s", diff)
		}
	})

	// If pgx must encode one column, it gets all rows, the first one too.
	t.Run("ByPgx", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		n, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, columns, &pairs[stringer]{names: []string{"a", "b"}, emails: []stringer{{"x"}, {"y"}}})
		if err != nil || n != 2 {
			t.Fatal(n, err)
		}
		if diff := cmp.Diff([]string{"a x", "b y"}, stored(t, d)); diff != "" {
			t.Errorf("rows (-given +stored):\n%s", diff)
		}
	})

	t.Run("NoRows", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		if n, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, columns, &pairs[string]{}); err != nil || n != 0 {
			t.Error(n, err)
		}
	})

	t.Run("SourceFails", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		broken := errors.New("broken")
		names, emails := namesOf(3000)
		_, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, columns, &pairs[string]{names: names, emails: emails, fail: broken})
		if !errors.Is(err, broken) {
			t.Errorf("err = %v, want the source's own", err)
		}
		if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 0 {
			t.Errorf("%d accounts, want none", n)
		}
	})

	// The context is checked for each message and not for each row.
	t.Run("ContextEnds", func(t *testing.T) {
		t.Parallel()
		d := testdata.New(t)
		ctx, cancel := context.WithCancel(t.Context())
		names, emails := namesOf(100_000)
		p := &pairs[string]{names: names, emails: emails, next: func(at int) {
			if at == 10 {
				cancel()
			}
		}}
		_, err := d.Router.CopyFrom(ctx, pgx.Identifier{"accounts"}, columns, p)
		if !errors.Is(err, context.Canceled) || p.at > 10_000 {
			t.Errorf("err = %v after %d rows, want that of the context, soon", err, p.at)
		}
		if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 0 {
			t.Errorf("%d accounts, want none", n)
		}
	})

	// A pooler in front of the server allows no prepared statements.
	t.Run("Pooler", func(t *testing.T) {
		t.Parallel()
		d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), Pooler: postgres.PoolerTransaction, MaxConns: 1})
		names, emails := namesOf(10)
		if n, err := d.Router.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, columns, &pairs[string]{names: names, emails: emails}); err != nil || n != 10 {
			t.Fatal(n, err)
		}
		if n := d.Count(t, "SELECT count(*) FROM pg_prepared_statements"); n != 0 {
			t.Errorf("%d prepared statements are left on the server", n)
		}
	})
}

// TestCopyFrom_Allocs copies rows of generated code. pgx would make eleven allocations for each.
func TestCopyFrom_Allocs(t *testing.T) {
	d := testdata.New(t)
	const rows = 10_000
	accounts := copied(1, rows)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := d.Queries.CopyAccounts(t.Context(), accounts); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > rows/2 {
		t.Errorf("%d allocations for %d rows", n, rows)
	}
}

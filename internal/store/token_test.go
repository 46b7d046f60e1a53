package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// newToken creates a token that never expires.
func newToken(t *testing.T, d *storetest.DB, scope db.TokenScope) store.CreatedToken {
	t.Helper()
	created, err := d.Store.CreateToken(t.Context(), store.NewToken{Name: "test", Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func TestTokens_Verify(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	tokens := store.NewTokens(d.Queries, slog.Default())
	created := newToken(t, d, db.TokenScopeWrite)
	other := newToken(t, d, db.TokenScopeRead)
	got, err := tokens.Verify(t.Context(), created.Text)
	if err != nil || got.ID != created.ID || got.Name != "test" || got.Scope != db.TokenScopeWrite {
		t.Fatalf("Verify = %+v, %v", got, err)
	}
	if !got.Allows(db.TokenScopeRead) || !got.Allows(db.TokenScopeWrite) || got.Allows(db.TokenScopeOperate) {
		t.Error("write does not allow read and write alone")
	}
	// It is valid although the tokens were read before it was created.
	late := newToken(t, d, db.TokenScopeOperate)
	if got, err := tokens.Verify(t.Context(), late.Text); err != nil || got.ID != late.ID {
		t.Errorf("a new token: %+v, %v", got, err)
	}
	swapped := created.Text[:len(created.Text)-8] + other.Text[len(other.Text)-8:]
	for _, wrong := range []string{"", "quern_", created.Text[:len(created.Text)-1], created.Text + "x", swapped, strings.ToUpper(created.Text), " " + created.Text} {
		if got, err := tokens.Verify(t.Context(), wrong); !errors.Is(err, store.ErrTokenInvalid) {
			t.Errorf("%q: %+v, %v", wrong, got, err)
		}
	}
	// The table has nothing from which the token can be computed.
	var rows int
	if err := connect(t, d).QueryRow(t.Context(), "SELECT count(*) FROM api_tokens AS t WHERE t::text LIKE '%' || $1 || '%'", created.Text[6:20]).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("the text is in %d rows (%v)", rows, err)
	}
}

func connect(t *testing.T, d *storetest.DB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Expiry and revocation take effect within the bound that Verify documents, with its real
// times, also on a server that is busy and so always has the tokens in memory.
func TestTokens_End(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *storetest.DB, int64){
		"Revoked": func(t *testing.T, d *storetest.DB, id int64) {
			if _, err := d.Store.RevokeToken(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Store.RevokeToken(t.Context(), id); err != nil {
				t.Errorf("again: %v", err)
			}
		},
		"Expired": func(t *testing.T, d *storetest.DB, id int64) {
			d.Exec(t, "UPDATE api_tokens SET expires_at = now() WHERE id = $1", id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := storetest.New(t)
			tokens := store.NewTokens(d.Queries, slog.Default())
			created := newToken(t, d, db.TokenScopeRead)
			if _, err := tokens.Verify(t.Context(), created.Text); err != nil {
				t.Fatal(err)
			}
			end(t, d, created.ID)
			start := time.Now()
			for {
				_, err := tokens.Verify(t.Context(), created.Text)
				if errors.Is(err, store.ErrTokenInvalid) {
					return
				}
				if err != nil || time.Since(start) > 5*time.Second {
					t.Fatalf("after %s: %v", time.Since(start), err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		if _, err := storetest.New(t).Store.RevokeToken(t.Context(), 1); !errors.Is(err, postgres.ErrNotFound) {
			t.Errorf("RevokeToken = %v", err)
		}
	})
	// The time of expiry is kept, although the tokens in memory are not read again.
	t.Run("InMemory", func(t *testing.T) {
		t.Parallel()
		d := storetest.New(t)
		tokens := store.NewTokens(d.Queries, slog.Default())
		tokens.SetTimes(time.Hour, time.Hour, time.Hour, 0)
		created, err := d.Store.CreateToken(t.Context(), store.NewToken{Name: "short", Scope: db.TokenScopeRead, Lifetime: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			if _, err := tokens.Verify(t.Context(), created.Text); errors.Is(err, store.ErrTokenInvalid) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("a token of a second is valid after 5 s")
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// reads counts the statements that read the tokens.
type reads struct{ atomic.Int64 }

func (r *reads) StatementEnded(_ context.Context, end postgres.StatementEnd) {
	if end.Statement.Name == "ListValidTokens" {
		r.Add(1)
	}
}

func (r *reads) Happened(postgres.Event) {}

// However many requests come, with valid or unknown tokens, few statements read them.
func TestTokens_Flood(t *testing.T) {
	t.Parallel()
	var reads reads
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), Observers: []postgres.Observer{&reads}})
	tokens := store.NewTokens(d.Queries, slog.Default())
	created := newToken(t, d, db.TokenScopeRead)
	start := time.Now()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for j := range 20 {
				text := created.Text[:len(created.Text)-6] + strconv.Itoa(100_000+1000*i+j)
				if _, err := tokens.Verify(t.Context(), text); !errors.Is(err, store.ErrTokenInvalid) {
					t.Errorf("an unknown token: %v", err)
				}
				if _, err := tokens.Verify(t.Context(), created.Text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n, most := reads.Load(), 2+int64(time.Since(start)/(100*time.Millisecond)); n > most {
		t.Errorf("%d statements in %s, want at most %d", n, time.Since(start), most)
	}
}

// While the tokens cannot be read, those in memory stay valid for a limited time, and
// others are neither valid nor invalid.
func TestTokens_Unavailable(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	tokens := store.NewTokens(d.Queries, slog.New(slog.DiscardHandler))
	created := newToken(t, d, db.TokenScopeRead)
	if _, err := tokens.Verify(t.Context(), created.Text); err != nil {
		t.Fatal(err)
	}
	// From here on, every request finds them too old.
	tokens.SetTimes(0, 0, time.Hour, 0)
	unknown := created.Text[:len(created.Text)-4] + "0000"
	d.Exec(t, "ALTER TABLE api_tokens RENAME TO away")
	if _, err := tokens.Verify(t.Context(), created.Text); err != nil {
		t.Errorf("within the grace: %v", err)
	}
	if _, err := tokens.Verify(t.Context(), unknown); err == nil || errors.Is(err, store.ErrTokenInvalid) {
		t.Errorf("an unknown token: %v", err)
	}
	tokens.SetTimes(0, 0, 0, 0)
	if _, err := tokens.Verify(t.Context(), created.Text); err == nil || errors.Is(err, store.ErrTokenInvalid) {
		t.Errorf("after the grace: %v", err)
	}
	d.Exec(t, "ALTER TABLE away RENAME TO api_tokens")
	if _, err := tokens.Verify(t.Context(), created.Text); err != nil {
		t.Errorf("when they can be read again: %v", err)
	}
}

func TestTokens_Used(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	tokens := store.NewTokens(d.Queries, slog.Default())
	used, unused := newToken(t, d, db.TokenScopeRead), newToken(t, d, db.TokenScopeRead)
	for range 3 {
		if _, err := tokens.Verify(t.Context(), used.Text); err != nil {
			t.Fatal(err)
		}
	}
	// Run stores them when it ends, at the latest.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tokens.Run(ctx)
	at := map[int64]*time.Time{}
	for row, err := range d.Store.EachToken(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		at[row.ID] = row.LastUsedAt
	}
	if len(at) != 2 || at[unused.ID] != nil || at[used.ID] == nil || time.Since(*at[used.ID]).Abs() > time.Minute {
		t.Errorf("last use: %v", at)
	}
}

func TestCreateToken(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	created, err := d.Store.CreateToken(t.Context(), store.NewToken{Name: "ci", Scope: db.TokenScopeWrite, Lifetime: 90 * 24 * time.Hour})
	if err != nil || created.ExpiresAt == nil || (time.Until(*created.ExpiresAt)-90*24*time.Hour).Abs() > time.Hour {
		t.Errorf("CreateToken = %+v, %v", created, err)
	}
	if again := newToken(t, d, db.TokenScopeRead); again.ExpiresAt != nil || again.Text == created.Text || len(again.Text) != 49 || !strings.HasPrefix(again.Text, "quern_") {
		t.Errorf("CreateToken = %+v", again)
	}
	if got := store.RedactTokens("unexpected argument " + created.Text + ", quern_abc and quern"); got != "unexpected argument quern_xxxxx, quern_xxxxx and quern" {
		t.Errorf("RedactTokens = %q", got)
	}
}

// A hash that only begins like that of a token is not the token's.
func TestTokens_Compare(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	tokens := store.NewTokens(d.Queries, slog.Default())
	created := newToken(t, d, db.TokenScopeRead)
	if _, err := tokens.Verify(t.Context(), created.Text); err != nil {
		t.Fatal(err)
	}
	if tokens.FindForeign(created.Text) {
		t.Error("the beginning of the hash is enough")
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Create an API token and print it. It is not stored, so it cannot be printed again."`
	List   tokenList   `cmd:"" help:"List the API tokens, without their texts."`
	Revoke tokenRevoke `cmd:"" help:"Revoke an API token. Running servers reject it within 5 s."`
}

type (
	tokenCreate struct {
		Scope   string   `required:"" enum:"read,write,operate" placeholder:"SCOPE" help:"What it allows: read (GET), write (every request of the API) or operate (also /metrics and the console)."`
		Expires lifetime `default:"90d" placeholder:"TIME" help:"How long it is valid, such as 90d or 12h, or never; 90d by default."`
		Name    string   `default:"unnamed" placeholder:"TEXT" help:"What it is for, up to 100 characters. It appears in the list and in audit lines."`
	}
	tokenList   struct{}
	tokenRevoke struct {
		ID int64 `arg:"" help:"The id in the list."`
	}
)

// lifetime is how long a token is valid, written like 90d. 0 means forever.
type lifetime time.Duration

// maxLifetime keeps an expiry within the years that JSON can carry.
const maxLifetime = 100 * 365 * 24 * time.Hour

// UnmarshalText parses a flag for kong.
func (l *lifetime) UnmarshalText(text []byte) error {
	written := string(text)
	if written == "never" {
		*l = 0
		return nil
	}
	d, err := time.ParseDuration(written)
	if days, ok := strings.CutSuffix(written, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		d = time.Duration(min(n*24*float64(time.Hour), math.MaxInt64/2))
	}
	if err != nil || d < time.Second || d > maxLifetime {
		return fmt.Errorf("%q is not a lifetime: write it like 90d or 12h, up to 36500d, or never", written)
	}
	*l = lifetime(d)
	return nil
}

// Validate is called by kong after parsing.
func (c *tokenCreate) Validate() error {
	if n := len([]rune(c.Name)); n < 1 || n > 100 || strings.ContainsRune(c.Name, 0) {
		return errors.New("--name must have 1 to 100 characters")
	}
	return nil
}

// Run prints the token alone on standard output, so that a script can read it.
func (c tokenCreate) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s *store.Store) error {
		t, err := s.CreateToken(ctx, store.NewToken{Name: c.Name, Scope: db.TokenScope(c.Scope), Lifetime: time.Duration(c.Expires)})
		if err != nil {
			return err
		}
		a.audit("token create", t.ID, slog.String("name", c.Name), slog.String("scope", c.Scope), slog.String("expires", orNever(t.ExpiresAt)))
		_, err = fmt.Fprintln(a.stdout, t.Text)
		return err
	})
}

// Run prints every token, also expired and revoked ones.
func (tokenList) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s *store.Store) error {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "ID\tNAME\tSCOPE\tSTATE\tCREATED\tEXPIRES\tLAST USED")
		for t, err := range s.EachToken(ctx) {
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, printable(t.Name), t.Scope, stateOf(t), minute(t.CreatedAt), orNever(t.ExpiresAt), orNever(t.LastUsedAt))
		}
		return w.Flush()
	})
}

func (c tokenRevoke) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s *store.Store) error {
		t, err := s.RevokeToken(ctx, c.ID)
		if errors.Is(err, postgres.ErrNotFound) {
			return fmt.Errorf("no API token has the id %d: `server token list` lists them", c.ID)
		}
		if err != nil {
			return err
		}
		a.audit("token revoke", t.ID, slog.String("name", t.Name), slog.String("scope", string(t.Scope)))
		_, err = fmt.Fprintf(a.stdout, "revoked %d (%s)\n", t.ID, printable(t.Name))
		return err
	})
}

// audit writes the audit line of an operation on a token by the user of the command line.
func (a *app) audit(act string, id int64, attrs ...slog.Attr) {
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	attrs = append([]slog.Attr{
		slog.String("act", act), slog.String("who", "command line: "+who), slog.String("target", "token "+strconv.FormatInt(id, 10)), slog.String("outcome", "done"),
	}, attrs...)
	api.Audit(context.Background(), a.log, attrs...)
}

func stateOf(t *db.ListTokensRow) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.Expired:
		return "expired"
	}
	return "valid"
}

// orNever formats a time, or the absence of one.
func orNever(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return minute(*t)
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// printable replaces control characters, which could change what a terminal shows.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

package postgres_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/migrate"
)

// secret is the password in all of these tests. shards are parts of it that remain if a
// connection string is cut in the wrong place.
const secret = "hunter2sEcret"

var shards = []string{"hunter2", "sEcret", "%31234"}

// malformed are connection strings that pgx rejects, or parses differently than intended.
var malformed = []string{
	"postgres://u:" + secret + "@h:port/d",
	"postgres://u:" + secret + "@h:99999/d",
	"postgres://u:" + secret + "@h/d%zz",
	"postgres://u:" + secret + "@[::1/d",
	"postgres://u:" + secret + "@h/d?sslmode=nonsense",
	"postgres://u:" + secret + "@h/d?connect_timeout=soon",
	"postgres://u:" + secret + "@h/d?target_session_attrs=" + secret,
	"postgres://u:" + secret + "@h/d?min_protocol_version=" + secret,
	"postgres://u:" + secret + "@h/d?require_auth=" + secret,
	"postgres://u:" + secret + "@h/d?channel_binding=" + secret,
	"postgres://u:" + secret + "@h/d?" + secret,
	"host=a,b port=1,2,3 password=" + secret,
	"postgres://u:hunter2@sEcret@h/d",
	"postgres://u:hunter2/sEcret@h/d",
	"postgres://u:12/sEcret@h/d",
	"postgres://u:12#sEcret@h/d",
	"postgres://u:hunter2#sEcret@h/d",
	"postgres://u:hunter2:sEcret/x@h/d",
	"postgres://u:%31234%zz@h/d",
	"postgress://u:" + secret + "@h/d",
	"postgress://u:" + secret + "@h/d?sslmode=disable",
	"mysql://u:" + secret + "@h/d?a=b",
	"host=h password=" + secret + " nonsense",
	"host=h password=hunter2 sEcret dbname=d",
	"host=h password='" + secret + " dbname=d",
	"host=h user= password=" + secret,
	"host= password=" + secret,
	"host=h dbname= password=" + secret + " user=u",
	"host=h sslmode=require sslrootcert= password=" + secret,
	"host=h sslmode=require sslcert= password=" + secret + " sslkey=x",
	"host=h service= password=" + secret,
	"host=h port= password=" + secret,
	"host=h application_name= password=" + secret,
	"dbname=postgres://u:" + secret + "@h/d",
	"password=" + secret + "=host=h user",
	"user=u " + secret,
	secret,
}

// spoken returns everything that an error or a configuration may print.
func spoken(values ...any) string {
	var b bytes.Buffer
	text := slog.New(slog.NewTextHandler(&b, nil))
	structured := slog.New(slog.NewJSONHandler(&b, nil))
	for _, v := range values {
		fmt.Fprintf(&b, "%v %+v %#v %s %q\n", v, v, v, v, v)
		fmt.Fprintf(&b, "%v %+v %#v\n", []any{v}, struct{ V any }{v}, map[string]any{"v": v})
		text.Info("x", "value", v)
		structured.Info("x", "value", v)
		if j, err := json.Marshal(v); err == nil {
			b.Write(j)
		}
	}
	return b.String()
}

func leaks(t *testing.T, what, said string) {
	t.Helper()
	for _, s := range append(shards, secret) {
		if i := strings.Index(said, s); i >= 0 {
			t.Errorf("%s: %q is in …%s…", what, s, said[max(0, i-80):min(len(said), i+40)])
		}
	}
}

func TestNoSecretIsSaid(t *testing.T) {
	t.Parallel()
	if len(malformed) < 17 {
		t.Fatal("too few")
	}

	t.Run("Malformed", func(t *testing.T) {
		t.Parallel()
		for _, address := range malformed {
			var log syncBuffer
			cfg := postgres.Config{URL: address, ConnectRetries: 1, ConnectTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			r, err := postgres.Connect(t.Context(), cfg)
			if err == nil {
				r.Close()
				t.Errorf("%s: no error", address)
			}
			if !strings.Contains(fmt.Sprint(err), "DATABASE_URL is invalid") {
				t.Errorf("%s: it was accepted: %v", address, err)
			}
			_, migrating := migrate.New(migrate.Config{URL: address})
			leaks(t, address, spoken(err, migrating, postgres.Diagnose(err), cfg, &cfg, migrate.Config{URL: address})+
				postgres.MaskURL(address)+log.String())
			_, err = postgres.Connect(t.Context(), postgres.Config{URL: "host=/nowhere", ReplicaURLs: []string{address}, Logger: quiet})
			if !strings.Contains(fmt.Sprint(err), "DATABASE_REPLICA_URLS is invalid") {
				t.Errorf("as a replica: %v", err)
			}
			leaks(t, address, spoken(err))
		}
	})

	t.Run("Refused", func(t *testing.T) {
		t.Parallel()
		good, err := url.Parse(pgtest.EmptyURL(t))
		if err != nil {
			t.Fatal(err)
		}
		passfile := filepath.Join(t.TempDir(), "pass")
		if err := os.WriteFile(passfile, []byte("*:*:*:*:"+secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		keyword := fmt.Sprintf("host=%s port=%s dbname=%s user=nobody ", good.Hostname(), good.Port(), strings.TrimPrefix(good.Path, "/"))
		for _, address := range []string{
			as(t, good.String(), "nobody", secret),
			as(t, good.String(), "nobody", secret, "sslmode", "require"),
			as(t, good.String(), "nobody", secret, "sslmode", "prefer", "statement_timeout", "never"),
			"postgres://nobody:" + secret + "@" + freeAddress(t) + "/d",
			"postgres://nobody:" + secret + "@no-such-host.invalid," + freeAddress(t) + "/d?target_session_attrs=read-write",
			"postgres://nobody@" + good.Host + good.Path + "?password=" + secret,
			"postgres://nobody@" + good.Host + good.Path + "?passw%6frd=" + secret + "&sslpassword=" + secret,
			"postgres://nobody@" + good.Host + good.Path + "?pasword=" + secret,
			keyword + "password=" + secret,
			keyword + "password='" + secret + "' sslmode=verify-full",
			keyword + "passfile=" + passfile,
			keyword + "pasword=" + secret,
		} {
			var log syncBuffer
			cfg := postgres.Config{
				URL: address, ReplicaURLs: []string{address}, ConnectRetries: 1, ConnectTimeout: time.Second,
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			}
			_, err := postgres.Connect(t.Context(), cfg)
			if err == nil {
				t.Errorf("%s: no error", address)
			}
			leaks(t, address, spoken(err, postgres.Diagnose(err), cfg, &cfg)+postgres.MaskURL(address)+log.String())
		}
	})

	t.Run("Connected", func(t *testing.T) {
		t.Parallel()
		address, role := pgtest.EmptyURL(t), roleName()
		admin(t, address, "CREATE ROLE "+role+" LOGIN PASSWORD '"+secret+"'")
		t.Cleanup(func() { admin(t, address, "DROP ROLE "+role) })
		var log syncBuffer
		r := open(t, postgres.Config{URL: as(t, address, role, secret), MaxConns: 1000, MinConns: 1, LogQueries: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		_, err := r.Exec(t.Context(), "SELECT nothing")
		leaks(t, "connected", spoken(err, r, r.Config())+log.String())
		admin(t, address, "ALTER ROLE "+role+" PASSWORD 'other'")
		r.Pool().Reset()
		_, err = r.Exec(t.Context(), "SELECT 1")
		if err == nil {
			t.Error("no error")
		}
		leaks(t, "password changed", spoken(err)+log.String())
	})
}

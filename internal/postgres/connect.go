package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sethvargo/go-retry"
)

// connectBackoff is the first pause between attempts to connect; it doubles
// with each, up to connectBackoffMax, give or take a quarter.
const (
	connectBackoff    = 100 * time.Millisecond
	connectBackoffMax = 5 * time.Second
)

// Connect opens the pool and waits for the first connection. A server that
// cannot be reached or is still starting is tried again up to ConnectRetries
// times; a wrong password, database, certificate or connection string is final
// at once. The error says what is wrong and never holds the password.
func Connect(ctx context.Context, cfg Config) (*Router, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	pool, err := cfg.openPool(ctx, cfg.URL)
	if err != nil {
		return nil, err
	}
	r := newRouter(cfg, pool)
	if err := r.openReplicas(ctx); err != nil {
		r.Close()
		return nil, err
	}
	if err := r.waitForServer(ctx); err != nil {
		// In the background, for it waits for the attempts to connect.
		go r.Close()
		return nil, err
	}
	r.start()
	return r, nil
}

// openPool opens a pool on the server of url. It does not wait for it.
func (c Config) openPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	c.URL = url
	pc, err := c.poolConfig()
	if err != nil {
		return nil, err
	}
	pc.AfterConnect = afterConnect
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	return pool, wrap("connect", err)
}

// openReplicas opens a pool for each replica. One that does not answer costs
// nothing until it does.
func (r *Router) openReplicas(ctx context.Context) error {
	for _, url := range r.cfg.ReplicaURLs {
		pool, err := r.cfg.openPool(ctx, url)
		if err != nil {
			return fmt.Errorf("DATABASE_REPLICA_URLS: %w", err)
		}
		r.replicas.add(pool)
	}
	return nil
}

// afterConnect makes a new connection's times come back in UTC: pgx would give
// them in the zone of the machine.
func afterConnect(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

func (r *Router) waitForServer(ctx context.Context) error {
	backoff := retry.WithMaxRetries(uint64(max(0, r.cfg.ConnectRetries)),
		retry.WithCappedDuration(connectBackoffMax,
			retry.WithJitterPercent(25, retry.NewExponential(connectBackoff))))
	attempts := 0
	err := retry.Do(ctx, backoff, func(ctx context.Context) error {
		attempts++
		ctx, cancel := context.WithTimeout(ctx, r.cfg.ConnectTimeout)
		defer cancel()
		err := r.Ping(ctx)
		if err == nil || !worthAnotherTry(err) {
			return err
		}
		r.cfg.Logger.WarnContext(ctx, "database does not answer yet", "attempt", attempts, "error", err)
		return retry.RetryableError(err)
	})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", MaskURL(r.cfg.URL), err)
	}
	return nil
}

// worthAnotherTry reports whether the same attempt to connect may succeed a
// moment later.
func worthAnotherTry(err error) bool {
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) {
		return pgErr.Code == pgerrcode.CannotConnectNow || pgErr.Code == pgerrcode.TooManyConnections
	}
	var certificate *tls.CertificateVerificationError
	return !errors.As(err, &certificate) && (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTimeout))
}

package console

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// linkIdle is how long the connection is kept. A page that is open asks every few seconds.
const linkIdle = 15 * time.Second

// link is a connection of the console's own. A query of the catalogs must work while all
// connections of the pool are in use, which is when an operator looks, and must not take one
// from the service.
type link struct {
	mu   sync.Mutex // held while the connection is in use
	conn *pgx.Conn  // nil if there is none
	idle *time.Timer
}

// do calls f with the connection. A connection that had an error is not used again.
func (l *link) do(ctx context.Context, router *postgres.Router, f func(*pgx.Conn) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle != nil {
		l.idle.Stop()
	}
	if l.conn == nil {
		config, prepare, err := router.Config().ConnConfig()
		if err != nil {
			return err
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return postgres.WrapError("connect", err)
		}
		l.conn = conn
		if err := prepare(ctx, conn); err != nil {
			l.drop()
			return err
		}
	}
	if err := f(l.conn); err != nil {
		l.drop()
		return postgres.WrapError("read the catalogs", err)
	}
	l.idle = time.AfterFunc(linkIdle, l.close)
	return nil
}

// drop closes the connection. l.mu must be held.
func (l *link) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.conn.Close(ctx) // it is not needed any more
	l.conn = nil
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.drop()
	}
}

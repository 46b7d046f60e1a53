package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// Shield and Unreplicated are used by COMMIT.
func Shield(c *pgconn.PgConn) (end func()) { return conn.Shield(c) }

func Unreplicated(ctx context.Context, c *pgconn.PgConn) bool { return conn.Unreplicated(ctx, c) }

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Spare and Unreplicated are what COMMIT uses.
func Spare(conn *pgconn.PgConn) (end func()) { return spare(conn) }

func Unreplicated(ctx context.Context, conn *pgconn.PgConn) bool { return unreplicated(ctx, conn) }

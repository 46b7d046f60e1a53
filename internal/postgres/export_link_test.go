package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Spare and Unreplicated are what COMMIT uses.
func Spare(ctx context.Context) context.Context { return spare(ctx) }

func Unreplicated(ctx context.Context, conn *pgconn.PgConn) bool { return unreplicated(ctx, conn) }

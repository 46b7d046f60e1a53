package scratch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/migrate"
)

// missingRole matches the message of a GRANT or an OWNER TO for a role that the server
// does not have. The server that Start starts speaks English.
var missingRole = regexp.MustCompile(`^role "(.+)" does not exist$`)

// Migrate applies the migrations up to a version, 0 for all, to a database that Create made. If
// Start has started the server, Migrate creates the roles that the migrations name, because
// roles belong to the server and not to a database.
func (s *Server) Migrate(ctx context.Context, database string, files fs.FS, version int64) error {
	for {
		err := migrateTo(ctx, database, files, version)
		role := s.missingRole(err)
		if role == "" {
			return err
		}
		if err := s.exec(ctx, "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" NOLOGIN"); err != nil {
			return err
		}
	}
}

func (s *Server) missingRole(err error) string {
	refused := (*pgconn.PgError)(nil)
	if s.own == nil || !errors.As(err, &refused) || refused.Code != pgerrcode.UndefinedObject {
		return ""
	}
	if m := missingRole.FindStringSubmatch(refused.Message); m != nil {
		return m[1]
	}
	return ""
}

func migrateTo(ctx context.Context, database string, files fs.FS, version int64) (err error) {
	m, err := migrate.New(migrate.Config{URL: database, FS: files, Logger: slog.New(slog.DiscardHandler), AllowOutOfOrder: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if version == 0 {
		_, err = m.Up(ctx)
	} else {
		_, err = m.To(ctx, version)
	}
	if err != nil {
		return fmt.Errorf("apply the migrations to a scratch database: %w", err)
	}
	return nil
}

// Exec runs scripts of statements, such as a schema.sql, one after the other in a database that
// Create made. Each is one transaction, unless it says otherwise. Roles that they name
// are created as by Migrate.
func (s *Server) Exec(ctx context.Context, database string, scripts ...string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, script := range scripts {
		if err := s.execScript(ctx, conn, script); err != nil {
			if len(scripts) > 1 {
				return fmt.Errorf("%s: %w", script, err)
			}
			return err
		}
	}
	return nil
}

func (s *Server) execScript(ctx context.Context, conn *pgx.Conn, script string) error {
	for {
		// In the simple protocol the script is one transaction, so a script that failed left
		// nothing.
		_, err := conn.PgConn().Exec(ctx, script).ReadAll()
		role := s.missingRole(err)
		if role == "" {
			return err
		}
		if err := s.exec(ctx, "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" NOLOGIN"); err != nil {
			return err
		}
	}
}

// Rollback undoes the migrations above a version, 0 for all.
func (s *Server) Rollback(ctx context.Context, database string, files fs.FS, version int64) (err error) {
	m, err := migrate.New(migrate.Config{URL: database, FS: files, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if _, err = m.To(ctx, version); err != nil {
		return fmt.Errorf("undo the migrations on a scratch database: %w", err)
	}
	return nil
}

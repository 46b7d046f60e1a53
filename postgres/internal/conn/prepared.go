package conn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// maxPrepared is how many statements of batches a connection keeps prepared, as many as pgx
// keeps of others. A project has fewer.
const maxPrepared = 512

// prepared is a statement that a connection has prepared for its batches. pgx does not reveal
// the statements that it has prepared itself. Behind a pooler the statement has no name, and
// only its description is kept.
type prepared struct {
	pgconn.StatementDescription
	params  pgconn.StatementDescription // without the columns, whose formats are known
	formats []int16                     // of the columns

	// first is a batch of this statement alone, if it has no parameters. Batches that begin
	// with the statement, mostly BEGIN, are copies of it. They use the rest of its memory one
	// after the other, because a connection sends one batch at a time.
	first pgconn.Batch
}

// statements are the prepared statements of a connection.
type statements struct {
	known map[string]*prepared // by their text
	stale []string             // names to deallocate before further statements are prepared
}

// find sets the prepared statement of each entry, and returns those that must be prepared
// first.
func (s *statements) find(entries []entry) (missing []*prepared) {
	for i := range entries {
		e := &entries[i]
		if e.prepared = s.known[e.sql]; e.prepared != nil {
			continue
		}
		if s.known == nil {
			s.known = map[string]*prepared{}
		}
		e.prepared = &prepared{StatementDescription: pgconn.StatementDescription{SQL: e.sql}}
		s.known[e.sql] = e.prepared
		missing = append(missing, e.prepared)
	}
	return missing
}

// prepare prepares the statements of the entries in one round trip, or in none if the
// connection knows them.
func (s *state) prepare(ctx context.Context, types *pgtype.Map, entries []entry) error {
	missing := s.find(entries)
	if len(missing) == 0 {
		return nil
	}
	if len(s.known) > maxPrepared {
		s.dropAll()
		missing = s.find(entries)
	}
	err := s.prepareAll(ctx, types, missing)
	if err != nil {
		for _, p := range missing {
			s.drop(p)
		}
	}
	return err
}

func (s *state) prepareAll(ctx context.Context, types *pgtype.Map, list []*prepared) (err error) {
	pipeline := s.pg.StartPipeline(ctx)
	defer func() {
		if closed := pipeline.Close(); err == nil {
			err = closed
		}
	}()
	for _, name := range s.stale {
		pipeline.SendDeallocate(name)
	}
	for _, p := range list {
		if !s.pool.options.Pooled {
			// The same name for the same text on each connection, as pgx does it, so that no
			// other statement is executed if a pooler is in between although POOLER does not
			// say so.
			digest := sha256.Sum256([]byte(p.SQL))
			p.Name = "quern_" + hex.EncodeToString(digest[:24])
		}
		pipeline.SendPrepare(p.Name, p.SQL, nil)
	}
	if err := pipeline.Sync(); err != nil {
		return err
	}
	for range s.stale {
		if _, err := pipeline.GetResults(); err != nil {
			return err
		}
	}
	s.stale = nil
	for _, p := range list {
		result, err := pipeline.GetResults()
		if err != nil {
			return err
		}
		described, ok := result.(*pgconn.StatementDescription)
		if !ok {
			return fmt.Errorf("prepare: unexpected result %T", result)
		}
		p.describe(types, described)
	}
	return nil
}

// describe sets the parameters and columns of a statement.
func (p *prepared) describe(types *pgtype.Map, d *pgconn.StatementDescription) {
	p.ParamOIDs, p.Fields = d.ParamOIDs, d.Fields
	p.params.ParamOIDs = d.ParamOIDs
	p.formats = make([]int16, len(d.Fields))
	for i, f := range d.Fields {
		p.formats[i] = types.FormatCodeForOID(f.DataTypeOID)
	}
	if len(d.ParamOIDs) == 0 {
		p.addTo(&p.first, nil, nil)
	}
}

// addTo adds the statement with its encoded arguments to a batch.
func (p *prepared) addTo(batch *pgconn.Batch, args [][]byte, argFormats []int16) {
	if p.Name == "" {
		batch.ExecParams(p.SQL, args, p.ParamOIDs, argFormats, p.formats)
	} else {
		batch.ExecStatement(&p.StatementDescription, args, argFormats, p.formats)
	}
}

// drop makes the connection prepare a statement again.
func (s *statements) drop(p *prepared) {
	delete(s.known, p.SQL)
	if p.Name != "" {
		s.stale = append(s.stale, p.Name)
	}
}

func (s *statements) dropAll() {
	for _, p := range s.known {
		s.drop(p)
	}
}

// forget drops the statements of a batch that ended with err, unless the error shows that a
// statement was executed: a violated constraint, or a conflict with another transaction.
func (s *statements) forget(entries []entry, err error) {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && (pgerrcode.IsIntegrityConstraintViolation(refused.Code) || pgerrcode.IsTransactionRollback(refused.Code)) {
		return
	}
	for i := range entries {
		if p := entries[i].prepared; p != nil && s.known[p.SQL] == p {
			s.drop(p)
		}
	}
}

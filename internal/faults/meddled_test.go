//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/postgres"
)

// Wrong ways to share work between calls. Each is a Router that changes how
// single rows are read, and each check must detect the mistake.

// meddled is a Router whose single rows are read by a scanner.
type meddled struct {
	*postgres.Router
	scan scanner
}

// scanner reads the row of a call into dest, by call.run or in another way.
type scanner func(c *meddledCall, dest []any) error

type meddledCall struct {
	meddled *meddled
	ctx     context.Context
	sql     string
	args    []any
}

func (m *meddled) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return &meddledCall{m, ctx, sql, args}
}

func (c *meddledCall) Scan(dest ...any) error { return c.meddled.scan(c, dest) }

// run runs the call unchanged.
func (c *meddledCall) run(dest []any) error {
	return c.meddled.Router.QueryRow(c.ctx, c.sql, c.args...).Scan(dest...)
}

// isRead reports whether the call reads one row by its key.
func (c *meddledCall) isRead() bool { return strings.HasPrefix(c.sql, "-- name: Get") }

func (c *meddledCall) key() string { return fmt.Sprint(c.sql, c.args) }

// values returns a copy of the scanned values.
func values(dest []any) []any {
	list := make([]any, len(dest))
	for i, d := range dest {
		list[i] = reflect.ValueOf(d).Elem().Interface()
		switch v := list[i].(type) {
		case []string:
			list[i] = slices.Clone(v)
		case *int32:
			if v != nil {
				n := *v
				list[i] = &n
			}
		}
	}
	return list
}

// scanValues scans a copy of a row of values.
func scanValues(row, dest []any) error {
	list := make([]any, len(row))
	for i := range row {
		v := reflect.New(reflect.TypeOf(row[i]))
		v.Elem().Set(reflect.ValueOf(row[i]))
		list[i] = v.Interface()
	}
	for i, v := range values(list) {
		if i >= len(dest) || !reflect.TypeOf(v).AssignableTo(reflect.TypeOf(dest[i]).Elem()) {
			return fmt.Errorf("column %d is a %T and fits nowhere", i, v)
		}
		reflect.ValueOf(dest[i]).Elem().Set(reflect.ValueOf(v))
	}
	return nil
}

// remembering answers a read with the result of a recent one.
func remembering(d time.Duration) scanner {
	type memory struct {
		row   []any
		until time.Time
	}
	var rows sync.Map
	return func(c *meddledCall, dest []any) error {
		if !c.isRead() {
			return c.run(dest)
		}
		if m, ok := rows.Load(c.key()); ok && time.Now().Before(m.(memory).until) {
			return scanValues(m.(memory).row, dest)
		}
		err := c.run(dest)
		if err == nil {
			rows.Store(c.key(), memory{values(dest), time.Now().Add(d)})
		}
		return err
	}
}

// joining lets a read share the result of an equal one that was already sent
// (singleflight). It runs under the context of the first caller and does not
// handle panics.
func joining() scanner {
	type flight struct {
		landed chan struct{}
		row    []any
		err    error
	}
	var mu sync.Mutex
	flights := map[string]*flight{}
	return func(c *meddledCall, dest []any) error {
		if !c.isRead() {
			return c.run(dest)
		}
		mu.Lock()
		f := flights[c.key()]
		if f != nil {
			mu.Unlock()
			select {
			case <-f.landed:
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
			if f.err == nil {
				return scanValues(f.row, dest)
			}
			return f.err
		}
		f = &flight{landed: make(chan struct{})}
		flights[c.key()] = f
		mu.Unlock()
		f.err = c.run(dest)
		f.row = values(dest)
		// Simulates the answer's way through a network.
		<-time.After(time.Millisecond)
		mu.Lock()
		delete(flights, c.key())
		mu.Unlock()
		close(f.landed)
		return f.err
	}
}

// mixing sometimes gives one caller another caller's row.
func mixing() scanner {
	var n atomic.Int64
	var last sync.Map // by statement
	return func(c *meddledCall, dest []any) error {
		if err := c.run(dest); err != nil {
			return err
		}
		if n.Add(1)%100 == 0 {
			if row, ok := last.Load(c.sql); ok {
				return scanValues(row.([]any), dest)
			}
			return nil
		}
		last.Store(c.sql, values(dest))
		return nil
	}
}

// sharing decodes the tags of a row once for all callers that get it.
func sharing() scanner {
	var rows sync.Map
	return func(c *meddledCall, dest []any) error {
		err := c.run(dest)
		if err != nil || !c.isRead() {
			return err
		}
		version := *dest[len(dest)-1].(*int32)
		for _, d := range dest {
			if tags, ok := d.(*[]string); ok {
				first, _ := rows.LoadOrStore(fmt.Sprint(c.key(), version), *tags)
				*tags = first.([]string)
			}
		}
		return nil
	}
}

// forgiving treats a conflict as success and returns the existing row, like ON
// CONFLICT followed by a SELECT.
func forgiving() scanner {
	return func(c *meddledCall, dest []any) error {
		err := c.run(dest)
		if !errors.Is(err, postgres.ErrUnique) {
			return err
		}
		there := *c
		there.sql, there.args = statementOf("GetUserByUsername"), c.args[:1]
		return there.run(dest)
	}
}

// together also fails inserts that run at the same time as one that fails.
func together() scanner {
	var failed sync.Map // by statement: the error of the last one that failed
	return func(c *meddledCall, dest []any) error {
		if err, ok := failed.LoadAndDelete(c.sql); ok {
			return err.(error)
		}
		err := c.run(dest)
		if err != nil {
			failed.Store(c.sql, err)
		}
		return err
	}
}

// inLine runs inserts one after the other, and each to its end, even if its
// caller no longer waits.
func inLine() scanner {
	var mu sync.Mutex
	return func(c *meddledCall, dest []any) error {
		if c.isRead() {
			return c.run(dest)
		}
		mu.Lock()
		defer mu.Unlock()
		alone := *c
		alone.ctx = context.WithoutCancel(c.ctx)
		return alone.run(dest)
	}
}

// repeating repeats an insert whose answer was lost.
func repeating(c *meddledCall, dest []any) error {
	err := c.run(dest)
	for range 5 {
		if !errors.Is(err, postgres.ErrCommitUnknown) {
			break
		}
		err = c.run(dest)
	}
	return err
}

// stubborn retries as long as the database is unavailable.
func stubborn(c *meddledCall, dest []any) error {
	for {
		err := c.run(dest)
		if !errors.Is(err, postgres.ErrUnavailable) || c.ctx.Err() != nil {
			return err
		}
		<-time.After(10 * time.Millisecond)
	}
}

// statementOf returns the text of a statement.
func statementOf(name string) string {
	i := slices.IndexFunc(db.Statements, func(s postgres.Statement) bool { return s.Name == name })
	return db.Statements[i].SQL
}

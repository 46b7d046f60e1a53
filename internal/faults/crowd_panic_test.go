//go:build linux

package faults

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"quern/internal/db"
	"quern/postgres"
)

// bomb panics when it is sent or scanned.
type bomb struct{}

var errBomb = errors.New("a value panicked")

func (bomb) Value() (driver.Value, error) { panic(errBomb) }
func (*bomb) Scan(any) error              { panic(errBomb) }

// goOff makes a call that harms its own caller: its argument or its destination
// panics or has another type.
func goOff(ctx context.Context, router *postgres.Router, d db.DBTX, id int64) (err error) {
	defer func() {
		if r := recover(); r != nil && r != errBomb {
			panic(r)
		} else if r != nil {
			err = errBomb
		}
	}()
	var u db.User
	dest := []any{&u.ID, &u.Username, &u.Email, &u.Age, &u.Tags, &u.CreatedAt, &u.UpdatedAt, &u.Version}
	create := []any{fmt.Sprint("half ", rand.Int64()), "x", nil, []string{}}
	switch rand.IntN(9) {
	case 0:
		return d.QueryRow(ctx, statementOf("GetUser"), bomb{}).Scan(dest...)
	case 1:
		return d.QueryRow(ctx, statementOf("GetUser"), "not a number").Scan(dest...)
	case 2:
		create[3] = bomb{}
		return d.QueryRow(ctx, statementOf("CreateUser"), create...).Scan(dest...)
	case 3:
		create[2] = "old"
		return d.QueryRow(ctx, statementOf("CreateUser"), create...).Scan(dest...)
	case 4:
		create[3] = make(chan int)
		return d.QueryRow(ctx, statementOf("CreateUser"), create...).Scan(dest...)
	case 5:
		dest[1] = &bomb{}
	case 6:
		dest[1] = new(time.Time)
	case 7:
		dest = dest[:3]
	case 8:
		return postgres.InTx(ctx, router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			create[3] = bomb{}
			return tx.QueryRow(ctx, statementOf("CreateUser"), create...).Scan(dest...)
		})
	}
	return d.QueryRow(ctx, statementOf("GetUser"), id).Scan(dest...)
}

// oddly makes a call with types that the generated code does not use but that
// are equivalent.
func oddly(ctx context.Context, d db.DBTX, r *register) error {
	key := []any{r.id, int32(r.id), fmt.Sprint(r.id), &r.id, pgtype.Int8{Int64: r.id, Valid: true}}[rand.IntN(5)]
	var id any
	var name *string
	var age pgtype.Int4
	var version int64
	if err := d.QueryRow(ctx, statementOf("GetUser"), key).Scan(&id, &name, nil, &age, nil, nil, nil, &version); err != nil {
		return fmt.Errorf("with a key of type %T: %w", key, err)
	}
	_, want, _ := r.content(1)
	if id != r.id || name == nil || *name != r.name() || version != 1 || age.Valid != (want != nil) || want != nil && *want != age.Int32 {
		return fmt.Errorf("a key of type %T gave user %v, %v, %v, version %d, and %s was asked for", key, id, name, age, version, r)
	}
	return nil
}

// blowUp makes every eighth caller of a crowd make calls that panic, while
// other callers make calls with unusual types.
func blowUp(t *testing.T, router *postgres.Router, s *storm, d db.DBTX, over func() bool) {
	t.Helper()
	q := db.New(d)
	user := s.p.slots[0].Load().user
	var off atomic.Int64
	crowd(64, func(caller int) {
		for !over() {
			ctx, cancel := context.WithTimeout(t.Context(), closeLimit)
			var err error
			switch caller % 8 {
			case 0:
				off.Add(1)
				if goOff(ctx, router, d, user.id) == nil {
					s.add(acceptedWrong, "a call that cannot succeed")
				}
			case 1:
				err = oddly(ctx, router, user)
			default:
				err = s.readOrPlace(ctx, q)
			}
			if err != nil {
				s.add(failedCall, "%v", err)
			}
			s.calls.Add(1)
			cancel()
		}
	})
	t.Logf("%d calls, %d of which panicked", s.calls.Load(), off.Load())
	if off.Load() == 0 {
		t.Error("no call panicked, so the test shows nothing")
	}
	if !poll(closeLimit, func() bool { return router.Pool().Stat().AcquiredConns() == 0 }) {
		s.add(failedCall, "%d connections were never given back", router.Pool().Stat().AcquiredConns())
	}
}

// TestCrowdPanics makes one caller in eight pass a value that panics, or that
// has another type, to a coalesced statement. The other callers must not be
// affected, and no connection may be lost.
func TestCrowdPanics(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	s := newStorm(t, c, q, 6)
	blowUp(t, router, s, router, span(time.Second, 10*time.Second))
	s.checkAll(t, c)
}

// TestCrowdPanicsNaive shows that the check detects a panic that affects other
// callers.
func TestCrowdPanicsNaive(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	s := newStorm(t, c, q, 6)
	blowUp(t, router, s, &meddled{router, joining()}, s.seen(failedCall))
	t.Log("the check found:", &s.findings)
	s.require(t, failedCall)
}

package postgres

import (
	"context"
	"errors"
	"syscall"
	"testing"
)

// The old names of options still have an effect, and the new ones take precedence.
func TestDeprecatedNames(t *testing.T) {
	t.Parallel()
	if c := (Config{}).withDefaults(); !*c.CoalesceReads || !*c.CoalesceInserts {
		t.Error("calls are not coalesced by default")
	}
	c := Config{SeparateReads: true, SeparateInserts: true}
	if d := c.withDefaults(); *d.CoalesceReads || *d.CoalesceInserts {
		t.Error("SeparateReads and SeparateInserts have no effect")
	}
	c.CoalesceReads, c.CoalesceInserts = new(true), new(true)
	if d := c.withDefaults(); !*d.CoalesceReads || !*d.CoalesceInserts {
		t.Error("CoalesceReads and CoalesceInserts do not take precedence")
	}

	errOld, errNew := errors.New("old"), errors.New("new")
	o := TxOptions{Recall: func(DBTX) error { return errOld }}
	if err := o.withDefaults().ReadBack(nil); !errors.Is(err, errOld) {
		t.Errorf("Recall is not called: %v", err)
	}
	o.ReadBack = func(DBTX) error { return errNew }
	if err := o.withDefaults().ReadBack(nil); !errors.Is(err, errNew) {
		t.Errorf("ReadBack does not take precedence: %v", err)
	}

	if d := Diagnose(syscall.ECONNREFUSED); d.Hint == "" || d.Mend != d.Hint || !d.Transient || !d.Passing {
		t.Errorf("the old fields do not equal Hint and Transient: %+v", d)
	}

	called := false
	err := AtCommit(context.Background(), nil, func(*Batch) error { called = true; return errOld })
	if !called || !errors.Is(err, errOld) {
		t.Errorf("AtCommit: called %t, err = %v", called, err)
	}
	var _ Event = BatchSent{Statement: "GetAccount"}
	var _ Event = BatchPaused{Statement: "GetAccount"}
}

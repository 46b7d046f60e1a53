package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// A COMMIT without an answer is resolved by a marker, a row with a unique key that the
// transaction has written. The next run of the same transaction writes the same key. The
// unique index makes it wait for a first run that is still in progress, and rejects the key
// if the first run has committed. commitTable is the whole protocol. docs/commits.md
// describes each state, and the result for the caller.
//
//	state      event            next       action
//	clear      lost             in doubt   resolve
//	clear      lost together    in flight  resolve
//	clear      lost elsewhere   unknown    give up
//	in doubt   marker put       clear      go on
//	in doubt   marker taken     applied    confirm
//	in doubt   time up          unknown    give up
//	in flight  marker put       contended  go on
//	in flight  marker taken     unread     read back
//	in flight  time up          unknown    give up
//	contended  run committed    clear      go on
//	contended  run failed       barring    bar
//	contended  lost together    in flight  resolve
//	contended  lost elsewhere   unknown    give up
//	barring    marker put       clear      start anew
//	barring    marker taken     unread     read back
//	barring    marker unknown   unknown    give up
//
// Any other event in a state is impossible. If it occurs nevertheless, the outcome is
// unknown.
var commitTable = map[commitState]map[commitEvent]commitEdge{
	stateClear: {
		commitLost:          {stateInDoubt, commitResolve, ""},
		commitLostTogether:  {stateInFlight, commitResolve, ""},
		commitLostElsewhere: {stateUnknown, commitGiveUp, "unknown"},
	},
	stateInDoubt: {
		markerPut:    {stateClear, commitContinue, "aborted"},
		markerTaken:  {stateApplied, commitConfirm, "committed"},
		commitTimeUp: {stateUnknown, commitGiveUp, "unknown"},
	},
	stateInFlight: {
		markerPut:    {stateContended, commitContinue, ""},
		markerTaken:  {stateUnread, commitReadBack, "committed"},
		commitTimeUp: {stateUnknown, commitGiveUp, "unknown"},
	},
	stateContended: {
		runCommitted:        {stateClear, commitContinue, "aborted"},
		runFailed:           {stateBarring, commitBar, ""},
		commitLostTogether:  {stateInFlight, commitResolve, ""},
		commitLostElsewhere: {stateUnknown, commitGiveUp, "unknown"},
	},
	stateBarring: {
		markerPut:     {stateClear, commitRestart, "aborted"},
		markerTaken:   {stateUnread, commitReadBack, "committed"},
		markerUnknown: {stateUnknown, commitGiveUp, "unknown"},
	},
}

// commitState is the state of the COMMITs of one call of InTx or Pipeline.
type commitState int

const (
	stateClear     commitState = iota // none is in doubt
	stateInDoubt                      // one got no answer; its marker was on the server before it
	stateInFlight                     // one got no answer; it was sent together with its marker, and both may still arrive
	stateContended                    // another run holds the marker of the one in flight, and has not ended
	stateBarring                      // that run has failed; the marker must be committed alone to reject the one in flight
	stateApplied                      // the one in doubt has committed
	stateUnread                       // the one in flight has committed, and its rows were lost
	stateUnknown                      // the outcome cannot be determined
)

// commitEvent is an event of a COMMIT, its marker or its runs.
type commitEvent int

const (
	commitLost          commitEvent = iota // a COMMIT whose marker was on the server got no answer
	commitLostTogether                     // a COMMIT that was sent together with its marker got no answer
	commitLostElsewhere                    // a COMMIT was answered by an ERROR that does not say what another server did
	markerPut                              // the marker was written: the earlier run has not committed
	markerTaken                            // the marker was rejected: the earlier run has committed
	markerUnknown                          // the answer to a marker that was sent alone was lost
	runCommitted                           // the run has committed
	runFailed                              // the run failed before its COMMIT
	commitTimeUp                           // no time is left, or the transaction has no marker
)

// commitAction is the next step.
type commitAction int

const (
	commitContinue commitAction = iota // continue the run; if it has ended, return its result
	commitResolve                      // run again, with the marker first
	commitBar                          // commit the marker alone
	commitRestart                      // repeat or return as if no COMMIT had been sent, with a new marker
	commitConfirm                      // commit another marker; then return nil
	commitReadBack                     // read the stored rows
	commitGiveUp                       // return ErrCommitUnknown
)

func (s commitState) String() string {
	return [...]string{"clear", "in doubt", "in flight", "contended", "barring", "applied", "unread", "unknown"}[s]
}

func (e commitEvent) String() string {
	return [...]string{
		"lost", "lost together", "lost elsewhere", "marker put", "marker taken", "marker unknown",
		"run committed", "run failed", "time up",
	}[e]
}

func (a commitAction) String() string {
	return [...]string{"go on", "resolve", "bar", "start anew", "confirm", "read back", "give up"}[a]
}

// commitEdge is a transition. The outcome is for metrics, empty if it is still open.
type commitEdge struct {
	to      commitState
	action  commitAction
	outcome string
}

// marker identifies one call of InTx or Pipeline across all its runs.
type marker struct {
	markers  *markers
	observer *observer
	id       pgtype.UUID
	class    string // of the transactions, once their first statement is known

	state  commitState
	action commitAction
	lost   error // error of the COMMIT that is in doubt
}

// on follows the transition of an event.
func (m *marker) on(event commitEvent) {
	edge, ok := commitTable[m.state][event]
	if !ok {
		m.lost = errors.Join(m.lost, &Error{Kind: ErrCommitUnknown, Statement: "commit", Err: fmt.Errorf("%v is impossible in state %v", event, m.state)})
		edge = commitEdge{stateUnknown, commitGiveUp, "unknown"}
	}
	m.state, m.action = edge.to, edge.action
	if m.state == stateClear {
		m.lost = nil
	}
	if m.action == commitRestart {
		m.id = pgtype.UUID{} // the next run is another transaction
	}
	if edge.outcome != "" {
		m.observer.resolved(edge.outcome)
	}
}

// doubt records that a COMMIT ended with err and its outcome is not known.
func (m *marker) doubt(err error, sent commitEvent) {
	m.lost = err
	if answeredByError(err) {
		// This server rolled back, including the marker, so the marker shows nothing.
		sent = commitLostElsewhere
	}
	m.on(sent)
}

// usable reports whether a transaction with these options writes its marker.
func (m *marker) usable(opts TxOptions) bool {
	return m.markers.table.Load() == markersExist && !opts.NoMarker && !opts.ReadOnly
}

// value returns the argument of the statements that write the marker, a pointer, because a
// value would be allocated for each.
func (m *marker) value() *pgtype.UUID {
	if !m.id.Valid {
		m.id = uuidAt(time.Now())
	}
	return &m.id
}

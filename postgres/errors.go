package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The kinds of errors of a statement or a transaction. Compare them with errors.Is. The
// details are in *Error.
var (
	ErrNotFound      = errors.New("not found") // a :one statement without a row
	ErrUnique        = errors.New("unique violation")
	ErrForeignKey    = errors.New("foreign key violation")
	ErrExclusion     = errors.New("exclusion violation")
	ErrCheck         = errors.New("constraint violation")  // check and not-null, and the rest of SQLSTATE class 23
	ErrInvalidValue  = errors.New("invalid value")         // SQLSTATE class 22: out of range, NUL in text, …
	ErrSerialization = errors.New("serialization failure") // or a deadlock
	ErrTimeout       = errors.New("deadline exceeded")     // the statement's, the transaction's or the caller's
	ErrUnavailable   = errors.New("database unavailable")
	ErrPoolExhausted = errors.New("connection pool exhausted") // also ErrUnavailable

	// ErrIdleInTransaction: a transaction sent nothing for too long and lost its
	// connection. Nothing of it is stored. It is also ErrTimeout.
	ErrIdleInTransaction = errors.New("the transaction was idle for too long")

	// ErrWithinTransaction: a function run by InTx needs a second connection, outside of
	// its transaction, while transactions hold all connections. It is also
	// ErrPoolExhausted.
	ErrWithinTransaction = errors.New("a transaction waits for a second connection")

	// ErrCommitUnknown: a write may or may not have been applied, because the answer was
	// lost and the outcome could not be resolved in time.
	ErrCommitUnknown = errors.New("unknown whether this was committed")

	// ErrCommitted: a Pipeline has committed but returned an error, which was found in the
	// results of statements that are stored.
	ErrCommitted = errors.New("this was committed")

	// ErrQueryBudget: a statement was not executed, because it has already run as often as the
	// Stats of its context allow.
	ErrQueryBudget = errors.New("query budget exceeded")
)

// Error is the error of a statement or a transaction. Its text names the statement and the
// cause, and contains neither arguments nor passwords.
type Error struct {
	Kind       error  // one of the Err values of this package, or nil for any other error
	Statement  string // the query's name, or the action: connect, begin, commit, …
	Code       string // the SQLSTATE, if the server answered
	Table      string // of a violated constraint
	Column     string // of a not-null violation
	Constraint string // of a violated constraint
	Class      string // of ErrPoolExhausted: the class of work that got no connection
	Err        error  // the cause

	unreached bool // no server was reached, so nothing was applied
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Statement != "" {
		b.WriteString(e.Statement)
		b.WriteString(": ")
	}
	switch {
	case e.Kind == nil:
		b.WriteString(e.Err.Error())
	case e.Constraint != "":
		fmt.Fprintf(&b, "%v (constraint %s of table %s)", e.Kind, e.Constraint, e.Table)
	case e.Kind == ErrNotFound:
		b.WriteString(e.Kind.Error())
	default:
		fmt.Fprintf(&b, "%v: %v", e.Kind, e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool {
	switch e.Kind {
	case nil:
		return false
	case ErrPoolExhausted:
		return target == ErrPoolExhausted || target == ErrUnavailable
	case ErrWithinTransaction:
		return target == ErrWithinTransaction || target == ErrPoolExhausted || target == ErrUnavailable
	case ErrIdleInTransaction:
		return target == ErrIdleInTransaction || target == ErrTimeout
	}
	return target == e.Kind
}

// wrap converts the error of a statement to an *Error with its kind. A nil error, or one that
// contains an *Error, is returned unchanged.
func wrap(statement string, err error) error {
	if err == nil {
		return nil
	}
	if typed := (*Error)(nil); errors.As(err, &typed) {
		return err
	}
	var connect *pgconn.ConnectError
	e := &Error{Statement: statement, Err: withoutConfig(err), unreached: errors.As(err, &connect)}
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) {
		e.Kind = kindOf(pgErr)
		e.Code = pgErr.Code
		e.Table = pgErr.TableName
		e.Column = pgErr.ColumnName
		e.Constraint = cmp.Or(pgErr.ConstraintName, forwardedConstraint(pgErr))
		// It was cancelled because the caller has gone away, which is not an error of the
		// database.
		if pgErr.Code == pgerrcode.QueryCanceled && errors.Is(err, context.Canceled) && !errors.Is(err, errOperator) {
			e.Kind = nil
		}
		return e
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		e.Kind = ErrNotFound
	case errors.Is(err, errOperator):
		e.Kind = ErrTimeout
	case errors.Is(err, context.Canceled):
		// The caller has gone away, which is not an error of the database.
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		e.Kind = ErrTimeout
	case connectionLost(err):
		e.Kind = ErrUnavailable
	}
	return e
}

// WrapError returns an error of pgx as an *Error, for a statement or an action that did not
// run on a Router, such as a migration. It returns nil for nil, and returns an error that
// contains an *Error unchanged.
func WrapError(statement string, err error) error { return wrap(statement, err) }

// writeError is like wrap, but for a write. If inDoubt returns true, the outcome of the write
// is unknown.
func writeError(statement string, err error, inDoubt func(error) bool) error {
	if err == nil {
		return nil
	}
	err = wrap(statement, err)
	var e *Error
	if errors.As(err, &e) && inDoubt(e.Err) {
		unknown := *e
		unknown.Kind = ErrCommitUnknown
		return &unknown
	}
	return err
}

// answerLost reports whether the outcome of a statement that was sent and ended with err is
// unknown. Only an ERROR of the server means that the statement did nothing on that server.
// A FATAL may come after everything was done.
func answerLost(err error) bool {
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) {
		return pgErr.SeverityUnlocalized != "ERROR"
	}
	// pgconn has no other way to report that it has not begun to send the statement.
	if strings.Contains(err.Error(), "context already done") {
		return false
	}
	return connectionLost(err) || pgconn.Timeout(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// autocommitInDoubt reports whether the outcome of a statement outside a transaction that
// ended with err is unknown. It is unknown after a lost answer, and after an ERROR about
// the connection to another server, such as that of a foreign data wrapper, dblink or
// Citus. The other server may have committed its part before the connection broke.
func autocommitInDoubt(err error) bool {
	return answerLost(err) || aboutAnotherServer(err)
}

// aboutAnotherServer reports whether an ERROR concerns another server. The server of this
// connection reports these SQLSTATEs only as FATAL. 40003 is "statement completion unknown"
// by definition.
func aboutAnotherServer(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	return pgerrcode.IsConnectionException(e.Code) || strings.HasPrefix(e.Code, "57P") ||
		e.Code == pgerrcode.StatementCompletionUnknown
}

// commitInDoubt reports whether the outcome of a COMMIT that was answered with err is
// unknown. On this server, an ERROR means that the transaction did not commit. If other
// servers take part, only three classes mean that for all of them: integrity constraint
// violation (23), invalid transaction state (25) and transaction rollback (40).
func commitInDoubt(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return answerLost(err)
	}
	failed := pgerrcode.IsIntegrityConstraintViolation(e.Code) || pgerrcode.IsInvalidTransactionState(e.Code) ||
		pgerrcode.IsTransactionRollback(e.Code)
	return answerLost(err) || !failed || aboutAnotherServer(err)
}

// answeredByError reports whether the server answered with an ERROR.
func answeredByError(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.SeverityUnlocalized == "ERROR"
}

// kindOf maps the SQLSTATE of an error to its kind (PostgreSQL manual, appendix A).
func kindOf(e *pgconn.PgError) error {
	switch e.Code {
	case pgerrcode.UniqueViolation:
		return ErrUnique
	case pgerrcode.ForeignKeyViolation, pgerrcode.RestrictViolation:
		// Since version 18, ON DELETE RESTRICT is a restrict_violation.
		return ErrForeignKey
	case pgerrcode.ExclusionViolation:
		return ErrExclusion
	case pgerrcode.SerializationFailure, pgerrcode.DeadlockDetected:
		return ErrSerialization
	case pgerrcode.QueryCanceled, pgerrcode.LockNotAvailable:
		return ErrTimeout
	case pgerrcode.IdleInTransactionSessionTimeout:
		return ErrIdleInTransaction
	case pgerrcode.ReadOnlySQLTransaction:
		// The server was demoted, so another one is the primary now.
		return ErrUnavailable
	}
	switch {
	case pgerrcode.IsIntegrityConstraintViolation(e.Code):
		return ErrCheck
	case pgerrcode.IsDataException(e.Code):
		return ErrInvalidValue
	case pgerrcode.IsConnectionException(e.Code),
		pgerrcode.IsInsufficientResources(e.Code),
		pgerrcode.IsOperatorIntervention(e.Code),
		pgerrcode.IsInvalidAuthorizationSpecification(e.Code),
		pgerrcode.IsInvalidCatalogName(e.Code):
		return ErrUnavailable
	}
	return nil
}

// connectionLost reports whether err means that no server could be reached, or that the
// connection broke.
func connectionLost(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, errClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// ErrorClass names the kind of an error of this package, for metrics and spans:
// commit_unknown, not_found, unique, foreign_key, exclusion, check, invalid_value,
// serialization, timeout, pool_exhausted, unavailable, canceled or other. It is empty for
// nil.
func ErrorClass(err error) string {
	if err == nil {
		return ""
	}
	for _, class := range []struct {
		kind error
		name string
	}{
		{ErrCommitUnknown, "commit_unknown"},
		{ErrNotFound, "not_found"},
		{ErrUnique, "unique"},
		{ErrForeignKey, "foreign_key"},
		{ErrExclusion, "exclusion"},
		{ErrCheck, "check"},
		{ErrInvalidValue, "invalid_value"},
		{ErrSerialization, "serialization"},
		{ErrTimeout, "timeout"},
		{ErrPoolExhausted, "pool_exhausted"},
		{ErrQueryBudget, "query_budget"},
		{ErrUnavailable, "unavailable"},
		{context.Canceled, "canceled"},
	} {
		if errors.Is(err, class.kind) {
			return class.name
		}
	}
	return "other"
}

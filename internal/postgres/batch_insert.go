package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ownCopies copies the arguments of an insert that is to wait. Those of types
// that the generated code does not have stay as they are.
func ownCopies(args []any) []any {
	own := slices.Clone(args)
	for i, arg := range args {
		switch v := arg.(type) {
		case *bool:
			own[i] = copyOf(v)
		case *int16:
			own[i] = copyOf(v)
		case *int32:
			own[i] = copyOf(v)
		case *int64:
			own[i] = copyOf(v)
		case *float64:
			own[i] = copyOf(v)
		case *string:
			own[i] = copyOf(v)
		case *time.Time:
			own[i] = copyOf(v)
		case []byte:
			own[i] = slices.Clone(v)
		case []string:
			own[i] = slices.Clone(v)
		case json.RawMessage:
			own[i] = slices.Clone(v)
		}
	}
	return own
}

func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// insert runs inserts as one statement, which leaves out the rows that it
// cannot add. Their callers run them again by themselves, to be told why.
func (l *lane) insert(calls []*call) error {
	args := make([]any, len(l.one.Params))
	for i := range args {
		values := make(column, len(calls))
		for k, c := range calls {
			values[k] = c.args[i]
		}
		args[i] = values
	}
	a, err := l.send(calls, args)
	if err != nil {
		return err
	}
	if len(a.rows) > 0 {
		if err := l.deal(calls, a); err != nil {
			return err
		}
	}
	for _, c := range calls {
		c.alone = c.row == nil
		c.settle(nil)
	}
	return nil
}

// deal gives each row to the call whose ordinal stands before its columns.
func (l *lane) deal(calls []*call, a *answer) error {
	rest := &answer{fields: a.fields[1:], where: a.where}
	for _, row := range a.rows {
		value, row := row.cut()
		ord, ok := scanInt(&a.fields[0], value)
		if !ok || ord < 1 || ord > int64(len(calls)) {
			// They are stored: to run them again would double them.
			err := fmt.Errorf("%s: a row has the ordinal %q", l.many.Name, value)
			return &Error{Kind: ErrCommitUnknown, Statement: l.many.Name, Err: err}
		}
		calls[ord-1].answer, calls[ord-1].row = rest, row
	}
	return nil
}

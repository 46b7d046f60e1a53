package postgres

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
	for _, values := range a.rows {
		// The ordinal stands before the columns of the row.
		var ord uint64
		for _, b := range values[0] {
			ord = ord<<8 | uint64(b)
		}
		c := calls[ord-1]
		c.fields, c.values, c.where = a.fields[1:], values[1:], a.where
	}
	for _, c := range calls {
		c.alone = c.values == nil
		c.settle(nil)
	}
	return nil
}

package postgres

import "context"

// Share returns a context for a statement or transaction that is executed for several callers at
// once, and a function that must be called with its error. The context has nothing of the
// callers' contexts except how far their sessions have seen the database. So it is not cancelled
// with any of them. The function advances their sessions as if each had executed the statement,
// and counts it in the Stats of each.
func Share(callers []context.Context) (shared context.Context, end func(error)) {
	shared, stats := WithStats(context.Background())
	sessions := &batchSessions{}
	for _, ctx := range callers {
		if own := sessionOf(ctx); own != nil {
			shared = sessions.add(shared, own)
		}
	}
	return shared, func(err error) {
		if err == nil {
			sessions.learn()
		} else {
			for _, own := range sessions.own {
				own.markUnknown()
			}
		}
		_, took := stats.Total()
		for _, ctx := range callers {
			if own, ok := ctx.Value(statsKey{}).(*Stats); ok {
				own.addAll(stats.Counts(), took)
			}
		}
	}
}

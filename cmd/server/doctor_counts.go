package main

import (
	"context"
	"fmt"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

const (
	// manyUnfolded is the number of deltas from which folding has evidently stopped. Writers
	// at 10,000 posts a second leave 15,000 between two folds.
	manyUnfolded = 100_000

	// shownDifferences limits the output.
	shownDifferences = 10
)

// checkCounts reports deltas that no process folds and, if requested, kept counts that differ
// from the numbers of rows.
func (x *report) checkCounts(ctx context.Context, router *postgres.Router, c doctorCommand) error {
	q := db.New(router)
	if c.Rebuild {
		if err := q.RebuildCounts(ctx); err != nil {
			return fmt.Errorf("rebuild the counts: %w", err)
		}
	}
	n, err := q.CountUnfolded(ctx)
	if err != nil {
		return fmt.Errorf("count the deltas: %w", err)
	}
	if n := n.Posts + n.Users; n > manyUnfolded {
		x.wrong("%d deltas of kept counts are not folded: statistics are exact but slow: start a server, which folds them, or look for \"counts could not be folded\" in its log", n)
	}
	if !c.Counts && !c.Rebuild {
		return nil
	}
	differences, err := store.New(q).CheckCounts(ctx, shownDifferences+1)
	if err != nil {
		return err
	}
	for i, d := range differences {
		if i == shownDifferences {
			x.wrong("further counts are wrong")
			break
		}
		x.wrong("count of %s: kept %d, counted %d: run `server doctor --rebuild`, or SELECT rebuild_counts()", nameOf(d), d.Kept, d.Counted)
	}
	if len(differences) == 0 {
		x.fact("counts", "equal to the numbers of rows")
	}
	return nil
}

func nameOf(d *db.ListCountDifferencesRow) string {
	if d.Key == "" {
		return d.Name
	}
	return fmt.Sprintf("%s %.100q", d.Name, d.Key)
}

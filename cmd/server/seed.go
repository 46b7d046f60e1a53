package main

import (
	"context"
	"errors"
	"fmt"

	"quern/internal/store"
	"quern/postgres"
)

type seedCommand struct {
	Users int64  `default:"1000" placeholder:"N" help:"Number of users; 1000 by default."`
	Posts int64  `default:"10000" placeholder:"N" help:"Number of posts; 10000 by default."`
	Seed  uint64 `default:"1" placeholder:"N" help:"Seed of the random data: the same number gives the same data; 1 by default."`
	Quiet bool   `short:"q" help:"Print nothing but errors."`
}

// Run adds demo data in one transaction.
func (c seedCommand) Run(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(s *store.Store) error {
		p := a.newProgress("seed", c.Users+c.Posts, false, c.Quiet)
		defer p.end()
		err := s.Seed(ctx, store.SeedOptions{Users: c.Users, Posts: c.Posts, Seed: c.Seed, Progress: func(users, posts int64) {
			p.advance(users + posts - p.done.Load())
			p.rows(users+posts, 0)
		}})
		p.end()
		if errors.Is(err, postgres.ErrUnique) {
			return fmt.Errorf("%w: the users of --seed %d exist already: pass another number", err, c.Seed)
		}
		if err != nil || c.Quiet {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "seed: %s users and %s posts %s\n", thousands(c.Users), thousands(c.Posts), p.took(c.Users+c.Posts))
		return err
	})
}

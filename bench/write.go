package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"quern/bench/internal/report"
	"quern/bench/internal/taskload"
)

// profileFile is the handwritten part of the report, which explains where the time goes.
const profileFile = "profile.md"

// write writes the report below a directory.
func (r *runner) write(ctx context.Context, dir string, took time.Duration) error {
	facts, err := r.server.Facts(ctx)
	if err != nil {
		return err
	}
	profile, err := os.ReadFile(profileFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out := &report.Report{
		Sections: []report.Section{
			{
				Title: "One database", What: describe(mainWorkloads), Cells: r.main,
				Intro: "100,000 users and 200,000 posts. The first thousand users have 10 posts each, the others two on average.",
			},
			{
				Title: "Bulk load", What: describe([]workload{loadWorkload}), Cells: r.load,
				Intro: "The same " + report.Thousands(int64(r.rows)) + " rows for every peer. psql and the import read a file, all others have the rows in memory.",
			},
		},
		Sizes: r.sizes, HTTP: r.http, Found: r.found, Tasks: r.tasks, Counts: r.counts, Server: facts, Data: r.server.FileSystem(),
		Rounds: r.rounds, Duration: r.duration, Took: took, Commit: r.commit, Profile: string(profile),
	}
	for _, p := range r.peers {
		out.Peers = append(out.Peers, report.Peer{Name: p.Name, Version: p.Version, About: p.About})
	}
	out.Peers = append(out.Peers, report.Peer{
		Name: taskload.Reference, Version: taskload.Version(),
		About: "beside tasks only: riverpgxv5, InsertManyFast, a fetch cooldown of 1 ms and 16 connections, as many as Quern has there",
	})
	if err := out.Write(dir); err != nil {
		return err
	}
	logf("written: %s/benchmarks.md and %s/benchmarks/*.svg", dir, dir)
	return nil
}

func describe(list []workload) map[string]string {
	what := map[string]string{}
	for _, w := range list {
		what[w.name] = w.what
	}
	return what
}

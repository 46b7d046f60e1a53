// Command child is a process of the HTTP benchmark: either the load or one of
// the servers that were written for it. A server prints {"listening": URL} and
// serves until its standard input closes, so that it does not outlive its
// parent.
//
//	child load -url URL -connections N -lo ID -hi ID -duration D -seed N
//	child pgx-api       the project's API, its queries on a plain pgxpool
//	child pgx-handler   one handler, written by hand with pgx and encoding/json
//	child static        one handler without a database
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"quern/bench/internal/httpload/load"
)

func main() {
	if os.Getenv("GOGC") == "" {
		// As in cmd/server, so that only the handling of requests differs.
		debug.SetGCPercent(200)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("name a process: load, pgx-api, pgx-handler or static")
	}
	switch args[0] {
	case "load":
		return runLoad(ctx, args[1:])
	case "pgx-api":
		return servePool(ctx, apiOn)
	case "pgx-handler":
		return servePool(ctx, handlerOn)
	case "static":
		return serve(&http.Server{Handler: static()})
	default:
		return fmt.Errorf("unknown process %q: use load, pgx-api, pgx-handler or static", args[0])
	}
}

func runLoad(ctx context.Context, args []string) error {
	var c load.Config
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&c.URL, "url", "", "the server")
	flags.IntVar(&c.Connections, "connections", 1, "how many")
	flags.Int64Var(&c.Lo, "lo", 1, "the lowest id of a user")
	flags.Int64Var(&c.Hi, "hi", 1, "the highest")
	flags.DurationVar(&c.Duration, "duration", 0, "how long")
	flags.Uint64Var(&c.Seed, "seed", 0, "of the random ids")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// One thread that finds many answers at once wakes up less often than two. It takes 2 µs less
	// for a request, and a quarter of a core at 40,000 requests a second.
	runtime.GOMAXPROCS(1)
	report, err := load.Run(ctx, c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// serve serves on a free port of this machine until standard input closes.
func serve(s *http.Server) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it returns when standard input is closed, for any reason
		os.Exit(0)
	}()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"listening": "http://" + l.Addr().String()}); err != nil {
		return err
	}
	return s.Serve(l)
}

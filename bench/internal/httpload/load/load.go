// Package load requests users from an HTTP server as fast as it answers. It
// implements HTTP/1.1 itself, so that it takes little of the processor time that it
// shares with the server, and it checks every answer.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Config sets the requests and their duration.
type Config struct {
	URL         string // of the server, such as "http://127.0.0.1:8080"
	Connections int    // each with one request at a time
	Lo, Hi      int64  // the ids of the requested users, all of which exist
	Duration    time.Duration
	Seed        uint64 // of the random ids
}

// Report is the result, as JSON for the parent process.
type Report struct {
	Requests int64         `json:"requests"` // answered with their user
	Refused  int64         `json:"refused"`  // answered with 503 or 504; included in the percentiles
	Elapsed  time.Duration `json:"elapsed"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	CPU      time.Duration `json:"cpu"` // of this process
}

// Run keeps every connection busy until the time is over, and waits for the pending answers. An
// answer with which the server reports that it could not respond in time is counted. The first
// wrong answer, or a connection without an answer until answerTimeout after the end, ends the run
// with an error.
func Run(ctx context.Context, c Config) (Report, error) {
	clients, err := dial(ctx, c)
	defer func() {
		for _, cl := range clients {
			cl.conn.Close()
		}
	}()
	if err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	cpu, begun := processCPU(), time.Now()
	for _, cl := range clients {
		all.Go(func() {
			if err := cl.run(ctx, begun.Add(c.Duration)); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	r := Report{Elapsed: time.Since(begun), CPU: processCPU() - cpu}
	if err := context.Cause(ctx); err != nil {
		return r, err
	}
	var took []time.Duration
	for _, cl := range clients {
		took = append(took, cl.took...)
		r.Refused += cl.refused
	}
	if r.Requests = int64(len(took)) - r.Refused; r.Requests == 0 {
		return r, errors.New("every request was refused")
	}
	slices.Sort(took)
	r.P50, r.P99 = took[len(took)/2], took[len(took)*99/100]
	return r, nil
}

// answerTimeout is how long a server may take to answer the last requests. Each connection has
// one deadline, because one for each request would cost a twentieth of the load's time.
const answerTimeout = 30 * time.Second

// client is one connection.
type client struct {
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	host    string
	rand    *rand.Rand
	lo, hi  int64
	body    []byte
	took    []time.Duration
	refused int64
}

func dial(ctx context.Context, c Config) (clients []*client, err error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Connections < 1 || c.Lo > c.Hi {
		return nil, fmt.Errorf("%d connections and the ids %d to %d: at least one of each is needed", c.Connections, c.Lo, c.Hi)
	}
	for i := range c.Connections {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return clients, err
		}
		clients = append(clients, &client{
			conn: conn, in: bufio.NewReader(conn), host: u.Host, lo: c.Lo, hi: c.Hi,
			rand: rand.New(rand.NewPCG(c.Seed, uint64(i))),
		})
	}
	return clients, nil
}

func (c *client) run(ctx context.Context, end time.Time) error {
	if err := c.conn.SetDeadline(end.Add(answerTimeout)); err != nil {
		return err
	}
	for begun := time.Now(); begun.Before(end) && ctx.Err() == nil; {
		id := c.lo + c.rand.Int64N(c.hi-c.lo+1)
		err := c.ask(id)
		now := time.Now()
		if errors.Is(err, errRefused) {
			c.refused++
		} else if err != nil {
			return fmt.Errorf("GET /v1/users/%d: %w", id, err)
		}
		c.took = append(c.took, now.Sub(begun))
		begun = now
	}
	return nil
}

// errRefused means that the server could not answer in time.
var errRefused = errors.New("refused")

// ask sends a request and reads the whole answer, which must be the requested user.
func (c *client) ask(id int64) error {
	c.out = append(c.out[:0], "GET /v1/users/"...)
	c.out = strconv.AppendInt(c.out, id, 10)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.host...)
	c.out = append(c.out, "\r\n\r\n"...)
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	var err error
	var status int
	if status, c.body, err = readResponse(c.in, c.body[:0]); err != nil {
		return err
	}
	if status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
		return errRefused
	}
	if status != http.StatusOK || !isUser(c.body, id) {
		return fmt.Errorf("status %d and not that user: %.200q", status, c.body)
	}
	return nil
}

// isUser reports whether a JSON object has the id. Only the object's own member can
// match, because quotes inside a string would be escaped.
func isUser(body []byte, id int64) bool {
	var room [32]byte
	want := strconv.AppendInt(append(room[:0], `"id":`...), id, 10)
	_, rest, found := bytes.Cut(body, want)
	return found && len(rest) > 0 && (rest[0] == ',' || rest[0] == '}')
}

// processCPU is the processor time of this process so far.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

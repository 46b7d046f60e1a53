package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"quern/bench/internal/measure"
)

// pythonScript is the script of the Python peers, relative to the bench's
// directory.
const pythonScript = "python/peer.py"

var pythonAdapters = []string{"sqlalchemy-core", "sqlalchemy-orm", "sqlalchemy-async", "psycopg3", "asyncpg"}

// pythonWorkloads are the workloads that every Python peer has.
var pythonWorkloads = []string{"point", "page", "insert", "tx", "eager", "aggregate", "bulk-update"}

// Python is a peer in another process, which receives requests as lines of
// JSON.
type Python struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
}

// OpenPython starts the Python peers. A peer whose packages are not installed
// is omitted, with a log message.
func OpenPython(ctx context.Context, c Config, logf func(string, ...any)) (peers []*Peer, err error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		logf("the Python peers are omitted: python3 is not installed")
		return nil, nil
	}
	if _, err := os.Stat(pythonScript); err != nil {
		logf("the Python peers are omitted: %s does not exist", pythonScript)
		return nil, nil
	}
	for _, name := range pythonAdapters {
		p, versions, err := startPython(ctx, python, name, c)
		if err != nil {
			for _, p := range peers {
				err = errors.Join(err, p.Close())
			}
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if p == nil {
			logf("%s is omitted: %s", name, versions)
			continue
		}
		peers = append(peers, &Peer{
			Name: name, Version: versions, About: "in Python, one process", Remote: p, close: p.close,
		})
	}
	return peers, nil
}

// startPython returns no peer, but the reason, if its packages are missing.
func startPython(ctx context.Context, python, name string, c Config) (*Python, string, error) {
	p := &Python{name: name}
	p.cmd = exec.CommandContext(ctx, python, pythonScript, name)
	p.cmd.Env = append(os.Environ(), "DATABASE_URL="+c.URL)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, "", err
	}
	var hello struct {
		Ready    bool              `json:"ready"`
		Skip     string            `json:"skip"`
		Versions map[string]string `json:"versions"`
	}
	if err := p.read(&hello); err != nil {
		return nil, "", errors.Join(err, p.close())
	}
	if !hello.Ready {
		return nil, hello.Skip, p.close()
	}
	var versions []string
	for library, version := range hello.Versions {
		versions = append(versions, library+" "+version)
	}
	slices.Sort(versions)
	return p, strings.Join(versions, ", "), nil
}

// quitTimeout is how long a peer may take to end.
const quitTimeout = 5 * time.Second

func (p *Python) close() error {
	_, _ = io.WriteString(p.in, `{"quit":true}`+"\n") // closing the pipe has the same effect
	_ = p.in.Close()
	timer := time.AfterFunc(quitTimeout, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	return p.cmd.Wait()
}

func (p *Python) read(answer any) error {
	if !p.out.Scan() {
		return errors.Join(errors.New("it ended without an answer"), p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), answer); err != nil {
		return fmt.Errorf("it printed %q: %w", p.out.Text(), err)
	}
	return nil
}

func (p *Python) ask(question, answer any) error {
	line, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return err
	}
	return p.read(answer)
}

// Does reports whether it has a workload.
func (*Python) Does(workload string) bool { return slices.Contains(pythonWorkloads, workload) }

// Run makes it measure itself.
func (p *Python) Run(_ context.Context, l measure.Load) (s measure.Sample, err error) {
	var a struct {
		Ops     int64   `json:"ops"`
		Seconds float64 `json:"seconds"`
		P50     float64 `json:"p50_us"`
		P99     float64 `json:"p99_us"`
		CPU     float64 `json:"cpu_seconds"`
		Error   string  `json:"error"`
	}
	err = p.ask(map[string]any{
		"workload": l.Workload, "callers": l.Callers, "seconds": l.Duration.Seconds(),
		"ids": []int64{l.Lo, l.Hi}, "seed": l.Seed, "prefix": l.Prefix,
	}, &a)
	switch {
	case err != nil:
		return s, err
	case a.Error != "":
		return s, errors.New(a.Error)
	case a.Ops == 0:
		return s, errors.New("no call ended")
	}
	micro := func(us float64) time.Duration { return time.Duration(us * float64(time.Microsecond)) }
	return measure.Sample{
		Ops: a.Ops, Inserted: a.Ops, Elapsed: micro(a.Seconds * 1e6), P50: micro(a.P50), P99: micro(a.P99),
		ClientCPU: micro(a.CPU * 1e6), ClientKernel: -1, Mallocs: -1, Bytes: -1,
	}, nil
}

// Checksum returns the checksum of its answers, or "" for a workload whose
// answers it does not compare.
func (p *Python) Checksum(_ context.Context, workload string, ids []int64) (string, error) {
	switch workload {
	case "point", "page":
	case "eager":
		ids = make([]int64, EagerUsers)
		for i := range ids {
			ids[i] = int64(i + 1)
		}
	case "aggregate":
		ids = []int64{}
	default:
		return "", nil
	}
	var a struct{ Checksum, Error string }
	err := p.ask(map[string]any{"workload": "checksum", "name": workload, "ids": ids}, &a)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a.Checksum, err
}

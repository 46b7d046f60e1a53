package httpload

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Bounds for the start and the end of a server.
const (
	startTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// server is a running peer.
type server struct {
	peer
	url    string
	cmd    *exec.Cmd
	stdin  io.Closer // closing it ends the servers of this package
	stderr *bytes.Buffer
	idle   Memory // before the first request
}

// start starts the peers one after the other and returns those that run, even
// if there is an error.
func (b *bench) start(ctx context.Context, peers []peer) (servers []*server, err error) {
	for _, p := range peers {
		s, skip, err := b.startOne(ctx, p)
		if s != nil {
			servers = append(servers, s)
		}
		if err != nil {
			return servers, fmt.Errorf("start %s: %w", p.name, err)
		}
		if skip != "" {
			b.Logf("HTTP: %s: skipped: %s", p.name, skip)
		}
	}
	return servers, nil
}

// startOne starts a peer and waits for its address. skip is the reason if the
// peer reports that it cannot run here.
func (b *bench) startOne(ctx context.Context, p peer) (_ *server, skip string, err error) {
	program, err := exec.LookPath(p.command[0])
	if errors.Is(err, exec.ErrNotFound) {
		return nil, p.command[0] + " is not installed", nil
	}
	if err != nil {
		return nil, "", err
	}
	s := &server{peer: p, cmd: exec.Command(program, p.command[1:]...), stderr: &bytes.Buffer{}}
	s.cmd.Env = append(os.Environ(), p.env...)
	s.cmd.Dir = b.dir // so that no .env changes its settings
	s.cmd.Stderr = s.stderr
	s.cmd.WaitDelay = stopTimeout
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, "", err
	}
	said := make(chan string, 1)
	go func() { said <- untilAddress(stdout) }()
	var text string
	select {
	case text = <-said:
	case <-time.After(startTimeout):
		err = errors.New("it did not print its address")
	case <-ctx.Done():
		err = ctx.Err()
	}
	var answer struct{ Skip string }
	if json.Unmarshal([]byte(text), &answer) == nil && answer.Skip != "" {
		return nil, answer.Skip, s.stop()
	}
	if s.url = address.FindString(text); s.url == "" && err == nil {
		err = fmt.Errorf("it ended: %s", strings.TrimSpace(s.stderr.String()))
	}
	return s, "", err
}

// address matches the address that a server prints.
var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// untilAddress returns the output up to an address or the end. It keeps reading
// after that, so that a server that prints more does not block.
func untilAddress(r io.Reader) string {
	var said strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		said.WriteString(lines.Text())
		if address.MatchString(lines.Text()) {
			go func() { _, _ = io.Copy(io.Discard, r) }() // until it ends
			break
		}
	}
	return said.String()
}

// stop ends the server and waits for it.
func (s *server) stop() error {
	_ = s.stdin.Close()
	// The project's server ends by a signal. If it failed, it has already ended.
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	ended := time.AfterFunc(stopTimeout, func() { _ = s.cmd.Process.Kill() })
	defer ended.Stop()
	err := s.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return nil // ended by stop
		}
		return fmt.Errorf("%s: %w: %s", s.name, err, strings.TrimSpace(s.stderr.String()))
	}
	return err
}

// cpu returns the processor time of the server and its workers so far, or a
// negative value if it is unknown.
func (s *server) cpu() time.Duration { return treeCPU(s.cmd.Process.Pid) }

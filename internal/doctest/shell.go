package doctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell runs blocks one after the other, as a reader pastes them into one terminal. It
// carries the folder and the variables from each block to the next.
type shell struct {
	t        testing.TB
	page     Page
	state    string // a directory for the state between blocks
	replacer *strings.Replacer
	replace  []string
	servers  map[string]*server // by the address on the page
}

func newShell(t testing.TB, p Page) *shell {
	s := &shell{t: t, page: p, state: t.TempDir(), servers: map[string]*server{}, replace: p.Replace}
	s.replacer = strings.NewReplacer(p.Replace...)
	t.Cleanup(func() {
		for _, running := range s.servers {
			running.stop()
		}
	})
	return s
}

// cwd is the folder in which the last block ended.
func (s *shell) cwd() string {
	dir, err := os.ReadFile(filepath.Join(s.state, "pwd"))
	if err != nil {
		return s.page.Dir
	}
	return strings.TrimSuffix(string(dir), "\n")
}

// blockScript runs a block, the second argument, and keeps its folder and its variables in
// the folder of the first.
const blockScript = `set -euo pipefail
set -a
[ ! -e '%[1]s/env' ] || . '%[1]s/env'
%[2]s
pwd >'%[1]s/pwd'
export -p >'%[1]s/env'
`

// command is bash on a block. The block is a file, so that it can read its own
// standard input.
func (s *shell) command(ctx context.Context, text string) (*exec.Cmd, error) {
	script := fmt.Sprintf(blockScript, s.state, s.replacer.Replace(text))
	file, err := os.CreateTemp(s.state, "block")
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString(script)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "bash", file.Name())
	cmd.Dir = s.cwd()
	cmd.Env = append(os.Environ(), s.page.Env...)
	// A separate group, so that the processes that a block starts end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // for what still holds its output
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd, nil
}

// download matches a line of the go command on a machine that has not built this before.
var download = regexp.MustCompile(`(?m)^go: downloading .*\n`)

// sh runs a block and compares its output with the page.
func (s *shell) sh(text string, prints *string) error {
	if address, ok := s.page.Servers[text]; ok {
		return s.serve(text, address)
	}
	cmd, err := s.command(s.t.Context(), text)
	if err != nil {
		return err
	}
	started := time.Now()
	output, err := cmd.CombinedOutput()
	output = download.ReplaceAll(output, nil)
	if err != nil {
		return fmt.Errorf("%w:\n%s\nThe block is:\n%s", err, output, text)
	}
	s.t.Logf("%.1fs %s", time.Since(started).Seconds(), firstLine(text))
	if prints != nil && !matches(string(output), s.replacer.Replace(*prints)) {
		return fmt.Errorf("the block\n%s\nprints\n%s\nThe page says\n%s", text, output, *prints)
	}
	return nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// server is a block that runs in the background.
type server struct {
	cmd    *exec.Cmd
	output *os.File
	ended  chan struct{} // closed after it has ended
}

// startTimeout bounds the start of a server, which may compile first.
const startTimeout = 5 * time.Minute

// realAddress matches where a server says that it listens.
var realAddress = regexp.MustCompile(`https?://((?:127\.0\.0\.1|localhost):\d+)`)

// serve starts a server, waits until it has printed its address, and lets the blocks
// that follow use that one.
func (s *shell) serve(text, address string) error {
	if before := s.servers[address]; before != nil {
		before.stop()
		delete(s.servers, address)
	}
	// Not the test's context, because that ends before the clean-up, which stops it.
	cmd, err := s.command(context.Background(), text)
	if err != nil {
		return err
	}
	output, err := os.CreateTemp(s.state, "server")
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return errors.Join(err, output.Close())
	}
	running := &server{cmd: cmd, output: output, ended: make(chan struct{})}
	s.servers[address] = running
	go func() {
		defer close(running.ended)
		_ = cmd.Wait() // a server that ends too early has printed why
	}()
	real, err := running.awaitAddress()
	if err != nil {
		return err
	}
	s.replace = append([]string{address, real}, s.replace...)
	s.replacer = strings.NewReplacer(s.replace...)
	return nil
}

func (r *server) awaitAddress() (string, error) {
	deadline := time.Now().Add(startTimeout)
	for {
		ended := r.hasEnded() // before its output is read, so that the output is whole
		printed, err := os.ReadFile(r.output.Name())
		if err != nil {
			return "", err
		}
		switch m := realAddress.FindSubmatch(printed); {
		case ended:
			return "", fmt.Errorf("the server ended:\n%s", printed)
		case m != nil:
			return string(m[1]), nil
		case time.Now().After(deadline):
			return "", fmt.Errorf("the server has not printed its address within %s:\n%s", startTimeout, printed)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *server) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// stopTimeout bounds the end of a server after Ctrl-C.
const stopTimeout = 30 * time.Second

// stop ends a server as Ctrl-C does, and kills what does not end.
func (r *server) stop() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT) // it may have ended
	select {
	case <-r.ended:
	case <-time.After(stopTimeout):
	}
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.ended
	_ = r.output.Close() // it was read by its name
}

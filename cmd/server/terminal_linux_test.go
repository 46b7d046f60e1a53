package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// openTerminal returns a terminal, and the end that reads its output
// (pty(7)).
func openTerminal(t *testing.T) (terminal, reader *os.File) {
	t.Helper()
	reader, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	var unlock, number int32
	for request, argument := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, reader.Fd(), request, uintptr(unsafe.Pointer(argument))); errno != 0 {
			t.Fatal(errno)
		}
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, reader
}

// A terminal is shown the URL with the password, to be pasted after psql. If
// standard output is not a terminal, the URL has no password: see TestServe_Embedded.
func TestServe_EmbeddedOnATerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	terminal, reader := openTerminal(t)
	c := command(t, dir, nil)
	c.Stdout = terminal
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	var shown string
	for scanner := bufio.NewScanner(reader); scanner.Scan() && !strings.HasPrefix(scanner.Text(), "Ctrl-C"); {
		shown += scanner.Text() + "\n"
	}
	password, err := os.ReadFile(dir + "/.data/postgres/data/quern.password")
	if err != nil {
		t.Fatalf("%v: %s", err, c.stderr)
	}
	if !strings.Contains(shown, "postgres://quern:"+strings.TrimSpace(string(password))+"@") {
		t.Errorf("the URL is not shown in:\n%s", shown)
	}
	if code := c.end(t, os.Interrupt); code != exitSuccess {
		t.Errorf("exit code %d: %s", code, c.stderr)
	}
}

package localpg

import (
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// host is the address on which the server listens. It is reachable from this machine only.
const host = "127.0.0.1"

// freePort asks the kernel for a free port.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// rememberedPort returns the port of the last run if it is free, otherwise 0. Reusing it keeps addresses
// valid that users have saved.
func (l *launcher) rememberedPort() int {
	b, err := os.ReadFile(l.dir.port())
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || port < 1024 || port > 65535 {
		return 0
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return 0
	}
	listener.Close()
	return port
}

func (l *launcher) rememberPort(port int) error {
	if err := writeFile(l.dir.port(), strconv.Itoa(port)+"\n", 0o644); err != nil {
		return err
	}
	return l.account.own(l.dir.port())
}

// socketDir returns the directory of the Unix socket. It is the data directory, which only its owner may
// enter. If its path is too long for a socket address, it is a directory below the system's temporary
// directory.
func (l *launcher) socketDir() (string, error) {
	if len(l.dir.data())+len("/.s.PGSQL.65535") <= maxSocketPath {
		return l.dir.data(), nil
	}
	// The name is always the same, so that a directory left by a killed process is found and reused. If it
	// belongs to another user, it may be a trap.
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("quern-%x", sha256.Sum256([]byte(l.dir.data())))[:22])
	if err := os.Mkdir(dir, 0o700); err != nil {
		uid, _ := l.account.owner()
		info, err := os.Lstat(dir)
		if err == nil && info.IsDir() && info.Mode().Perm() == 0o700 {
			if have, _, ok := ownerOf(info); ok && have == uid {
				return dir, removeSockets(dir)
			}
		}
		if dir, err = os.MkdirTemp("", "quern-*"); err != nil {
			return "", err
		}
	}
	if err := l.account.own(dir); err != nil {
		os.Remove(dir)
		return "", err
	}
	return dir, nil
}

func removeSocketDir(d layout, socket string) {
	if socket == d.data() {
		return
	}
	_ = removeSockets(socket)
	os.Remove(socket)
}

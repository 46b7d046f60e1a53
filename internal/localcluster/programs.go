//go:build linux

package localcluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Missing returns an error that says what to install if a program is missing.
func Missing(binaries string, haproxy, pgbouncer bool) error {
	var programs, packages []string
	need := func(program, pkg string) {
		if _, err := exec.LookPath(program); err != nil {
			programs, packages = append(programs, filepath.Base(program)), append(packages, pkg)
		}
	}
	need("patroni", "patroni")
	need("etcd", "etcd-server")
	// The build that localpg fetches has only the programs that a server needs.
	for _, program := range []string{"createdb", "pg_basebackup", "pg_controldata", "pg_rewind"} {
		if _, err := exec.LookPath(filepath.Join(binaries, program)); err != nil {
			programs, packages = append(programs, program), append(packages, "postgresql")
			break
		}
	}
	if haproxy {
		need("haproxy", "haproxy")
	}
	if pgbouncer {
		need("pgbouncer", "pgbouncer")
	}
	if len(programs) == 0 {
		return nil
	}
	return fmt.Errorf("not installed: %s: apt-get install %s", strings.Join(programs, ", "), strings.Join(packages, " "))
}

// Account returns the account that PostgreSQL's programs run as, because they refuse to run as
// root. It is nil for the account of this process.
func Account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := osuser.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid) // decimal on Unix
			gid, _ := strconv.Atoi(u.Gid)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and neither of the accounts postgres and nobody exists: add one of them, or run as an ordinary user")
}

// FreePort returns a port below the kernel's range for outgoing connections, because one of
// those could take it while the server is down.
func FreePort() int {
	for {
		port := 15000 + rand.IntN(17000)
		if l, err := net.Listen("tcp", loopback(port)); err == nil {
			l.Close()
			return port
		}
	}
}

//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// network connects hosts by a router that can lose their packets. Each host is a
// network namespace. Nothing answers for a lost packet, as if a cable was cut:
// neither an RST nor an ICMP message. A proxy cannot do that, because the
// kernels on both sides of it still acknowledge the data.
//
// The network needs root, /proc/sys to be writable, and the programs ip and
// nsenter. The kernel removes all of it when the test process ends.
type network struct {
	router *space
	prefix string // of the addresses, such as 198.18.7
	here   *host  // this process, whose namespace is that of the machine
	hosts  []*host
}

// host is one end of the network.
type host struct {
	name    string
	space   *space // nil for this process
	number  int    // in the network
	address string
}

// link is the name of the router's end of the link to the host.
func (h *host) link() string { return fmt.Sprint("to", h.number) }

// ip returns the host's address, or that of loopback if the host is nil.
func (h *host) ip() string {
	if h == nil {
		return "127.0.0.1"
	}
	return h.address
}

// named returns the host with the given name, or nil without a network.
func (n *network) named(name string) *host {
	if n == nil {
		return nil
	}
	return n.hosts[slices.IndexFunc(n.hosts, func(h *host) bool { return h.name == name })]
}

// space is a network namespace. It exists as long as its holder, and longer if
// other processes are in it.
type space struct{ holder *process }

func (s *space) path() string { return fmt.Sprintf("/proc/%d/ns/net", s.holder.pid) }

// newSpace creates a namespace, or skips the test if that is not permitted.
func newSpace(t testing.TB) *space {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	holder, err := spawn(cmd)
	if err != nil {
		t.Skipf("no network can be cut, because network namespaces are not permitted: %v: run the test as root, in a container with --privileged", err)
	}
	t.Cleanup(holder.kill)
	return &space{holder}
}

// run runs a command of the shell in the namespace.
func (s *space) run(t testing.TB, script string) {
	t.Helper()
	out, err := exec.Command("nsenter", "--net="+s.path(), "/bin/sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// setns is the number of the system call, which package syscall does not have.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// The main thread must stay in the machine's namespace, which /proc shows by it.
// So only the main goroutine may run on it.
func init() { runtime.LockOSThread() }

// enter moves the calling thread into the namespace.
func (s *space) enter() error {
	f, err := os.Open(s.path())
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := syscall.RawSyscall(setns, f.Fd(), syscall.CLONE_NEWNET, 0); errno != 0 {
		return fmt.Errorf("enter a network namespace: %w", errno)
	}
	return nil
}

// newNetwork creates a network with this process and the named hosts.
func newNetwork(t testing.TB, names ...string) *network {
	t.Helper()
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("no network can be cut, because " + program + " is not installed: apt-get install iproute2 util-linux")
		}
	}
	n := &network{router: newSpace(t)}
	// Addresses for benchmarks of networks (RFC 2544), which no machine routes.
	n.prefix = fmt.Sprintf("198.%d.%d", 18+rand.IntN(2), rand.IntN(256))
	if _, err := exec.Command("nsenter", "--net="+n.router.path(), "/bin/sh", "-ec", "ip link set lo up; echo 1 >/proc/sys/net/ipv4/ip_forward").Output(); err != nil {
		t.Skipf("no network can be cut, because /proc/sys is not writable: %v: run the test in a container with --privileged", err)
	}
	n.here = n.add(t, "here", nil)
	for _, name := range names {
		n.add(t, name, newSpace(t))
	}
	return n
}

// add connects a host to the router.
func (n *network) add(t testing.TB, name string, s *space) *host {
	t.Helper()
	h := &host{name: name, space: s, number: len(n.hosts)}
	gateway := fmt.Sprintf("%s.%d", n.prefix, 4*h.number+1)
	h.address = fmt.Sprintf("%s.%d", n.prefix, 4*h.number+2)
	n.hosts = append(n.hosts, h)
	end := "eth0"
	if s == nil {
		end = fmt.Sprintf("cut%d", rand.IntN(1e9)) // another test process may have such a link
		s = &space{&process{pid: os.Getpid()}}
	}
	n.router.run(t, fmt.Sprintf("ip link add %[1]s type veth peer name %[2]s netns %[3]d; ip addr add %[4]s/30 dev %[1]s; ip link set %[1]s up",
		h.link(), end, s.holder.pid, gateway))
	s.run(t, fmt.Sprintf("ip link set lo up; ip addr add %s/30 dev %s; ip link set %[2]s up; ip route add %[3]s.0/24 via %[4]s",
		h.address, end, n.prefix, gateway))
	return h
}

// lose makes the router lose all packets that one host sends to the other.
func (n *network) lose(t testing.TB, from, to *host) {
	t.Helper()
	n.router.run(t, fmt.Sprintf("ip rule add priority 100 iif %s to %s blackhole", from.link(), to.address))
}

// cut makes the router lose all packets between two hosts.
func (n *network) cut(t testing.TB, a, b *host) {
	t.Helper()
	n.lose(t, a, b)
	n.lose(t, b, a)
}

// isolate makes the router lose all packets of a host.
func (n *network) isolate(t testing.TB, h *host) {
	t.Helper()
	for _, other := range n.hosts {
		if other != h {
			n.cut(t, h, other)
		}
	}
}

// down takes the link of a host down. The router answers the other hosts that
// the host is unreachable.
func (n *network) down(t testing.TB, h *host) {
	t.Helper()
	n.router.run(t, fmt.Sprintf("ip link set %s down", h.link()))
}

// heal ends all of that.
func (n *network) heal(t testing.TB) {
	t.Helper()
	script := []string{"while ip rule del priority 100 2>/dev/null; do :; done"}
	for _, h := range n.hosts {
		script = append(script, fmt.Sprintf("ip link set %s up", h.link()))
	}
	n.router.run(t, strings.Join(script, "; "))
}

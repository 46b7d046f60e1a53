//go:build !linux

// Command cluster starts a PostgreSQL cluster under Patroni on this machine. It needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cluster: this needs Linux, and Debian's packages of Patroni and etcd: run it in a container or a virtual machine")
	os.Exit(1)
}

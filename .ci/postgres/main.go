// Command postgres fetches a PostgreSQL, and prints the directory with its programs. If that is
// first in $PATH and newer than the installed PostgreSQL, tests use it.
package main

import (
	"context"
	"fmt"
	"os"

	"quern/localpg"
)

func main() {
	dir, err := localpg.Fetch(context.Background(), "", func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "postgres:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

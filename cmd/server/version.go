package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the Makefile to the output of git describe.
var release string

type versionCommand struct{}

func (versionCommand) Run(a *app) error {
	_, err := fmt.Fprintf(a.stdout, "server %s, %s, %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version returns the release, or the module's version if the Makefile did not
// build the program.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

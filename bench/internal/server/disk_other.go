//go:build !linux

package server

// fileSystem is known on Linux only.
func fileSystem(string) string { return "unknown" }

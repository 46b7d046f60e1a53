//go:build !linux

package server

// fileSystem is known only on Linux.
func fileSystem(string) string { return "unknown" }

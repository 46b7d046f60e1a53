//go:build !linux

package server

import "time"

// treeCPU is unknown without /proc.
func treeCPU(int) (all, kernel time.Duration) { return -1, -1 }

//go:build !linux

package server

import "time"

// treeCPU is not known without /proc.
func treeCPU(int) time.Duration { return -1 }

//go:build linux || darwin

package store

import "syscall"

// diskSpace returns the free bytes for an unprivileged user on the disk of a directory, and
// the size of the disk.
func diskSpace(dir string) (free, size int64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, false
	}
	block := int64(s.Bsize)
	return int64(s.Bavail) * block, int64(s.Blocks) * block, true
}

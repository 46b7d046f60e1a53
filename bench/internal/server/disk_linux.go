package server

import (
	"fmt"
	"syscall"
)

// fileSystems maps magic numbers (statfs(2)) to the names of file systems on
// which temporary directories may be.
var fileSystems = map[int64]string{
	0xef53: "ext4", 0x9123683e: "btrfs", 0x58465342: "xfs", 0x794c7630: "overlayfs", 0x01021994: "tmpfs, which is memory and no disk",
	0x2fc12fc1: "zfs", 0xf2f52010: "f2fs",
}

// fileSystem returns the name of a directory's file system.
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	if name := fileSystems[int64(s.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("a file system of type %#x", s.Type)
}

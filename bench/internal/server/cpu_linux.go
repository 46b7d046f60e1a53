package server

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: USER_HZ is 100 everywhere.
const tick = 10 * time.Millisecond

// treeCPU is the processor time of a process, of its children, and of the
// children that it has had, and how much of it was in the kernel.
func treeCPU(pid int) (all, kernel time.Duration) {
	fields := stat(strconv.Itoa(pid))
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if fields == nil || err != nil {
		return -1, -1
	}
	// cutime and cstime: of the children that have ended.
	all, kernel = ticks(fields[13])+ticks(fields[14]), ticks(fields[14])
	for _, id := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		a, k := running(id)
		all, kernel = all+a, kernel+k
	}
	return all, kernel
}

// stat are the fields of /proc/PID/stat behind the name, state first.
func stat(pid string) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := bytes.Cut(text, []byte(") "))
	if fields := strings.Fields(string(rest)); len(fields) > 14 {
		return fields
	}
	return nil
}

// running is the processor time of one process: to the nanosecond where the
// kernel tells, for in a hundredth of a second much is done.
func running(pid string) (all, kernel time.Duration) {
	fields := stat(pid)
	if fields == nil {
		return 0, 0 // it has ended meanwhile
	}
	all, kernel = ticks(fields[11])+ticks(fields[12]), ticks(fields[12])
	if text, err := os.ReadFile("/proc/" + pid + "/schedstat"); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		if ns, err := strconv.ParseInt(first, 10, 64); err == nil && ns > 0 {
			all = time.Duration(ns)
		}
	}
	return all, kernel
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * tick
}

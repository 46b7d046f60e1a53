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

// treeCPU returns the processor time of a process, its children and its ended
// children, and the part of it in the kernel.
func treeCPU(pid int) (all, kernel time.Duration) {
	fields := stat(strconv.Itoa(pid))
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if fields == nil || err != nil {
		return -1, -1
	}
	// cutime and cstime are those of the children that have ended.
	all, kernel = ticks(fields[13])+ticks(fields[14]), ticks(fields[14])
	for _, id := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		a, k := running(id)
		all, kernel = all+a, kernel+k
	}
	return all, kernel
}

// stat returns the fields of /proc/PID/stat after the name, beginning with the
// state.
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

// running returns the processor time of one process. The resolution is a nanosecond if the
// kernel supports that. A hundredth of a second would be too coarse.
func running(pid string) (all, kernel time.Duration) {
	fields := stat(pid)
	if fields == nil {
		return 0, 0 // the process has ended in the meantime
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

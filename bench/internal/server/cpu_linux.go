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
// children that it has had.
func treeCPU(pid int) time.Duration {
	fields := stat(pid)
	if fields == nil {
		return -1
	}
	// cutime and cstime: of the children that have ended.
	total := ticks(fields[13]) + ticks(fields[14]) + running(pid)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return -1
	}
	for _, child := range strings.Fields(string(children)) {
		if id, err := strconv.Atoi(child); err == nil {
			total += running(id)
		}
	}
	return total
}

// stat are the fields of /proc/PID/stat behind the name, state first.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
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
func running(pid int) time.Duration {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			if ns, err := strconv.ParseInt(fields[0], 10, 64); err == nil && ns > 0 {
				return time.Duration(ns)
			}
		}
	}
	if fields := stat(pid); fields != nil {
		return ticks(fields[11]) + ticks(fields[12])
	}
	return 0
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * tick
}

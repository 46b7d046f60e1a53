package httpload

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

// treeCPU returns the processor time of a process with all its threads and the
// processes that it started, as reported by Linux. On other systems it is
// unknown, which is negative.
func treeCPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return -1
	}
	_, rest, _ := bytes.Cut(text, []byte(") ")) // after the name, which may contain any character
	fields := strings.Fields(string(rest))
	if len(fields) < 15 {
		return -1
	}
	var total time.Duration
	for _, field := range fields[11:15] { // its own time and that of children that have ended
		n, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(n) * tick
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if id, err := strconv.Atoi(child); err == nil {
			total += max(0, treeCPU(id))
		}
	}
	return total
}

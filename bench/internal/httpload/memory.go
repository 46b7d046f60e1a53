package httpload

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is the resident memory of a process in bytes, as reported by Linux. On other
// systems it is zero.
type Memory struct {
	Private int64 // heap, stacks and other memory of this process alone
	File    int64 // mapped pages of its program, which processes share and the kernel can drop
}

// HasWorkers reports whether a server has further processes, whose memory is not known.
func HasWorkers(server string) bool { return strings.HasPrefix(server, "FastAPI") }

// memoryOf returns the resident memory of a process.
func memoryOf(pid int) (m Memory) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		switch name {
		case "RssAnon":
			m.Private = kilobytes << 10
		case "RssFile":
			m.File = kilobytes << 10
		}
	}
	return m
}

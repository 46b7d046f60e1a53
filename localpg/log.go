package localpg

import (
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// maxLog is the size beyond which a start begins a new log. One older generation is kept.
const maxLog = 8 << 20

// serverLog is the file that receives PostgreSQL's standard error.
type serverLog struct {
	*os.File
	from int64
}

func openLog(d layout, a account) (*serverLog, error) {
	if info, err := os.Lstat(d.log()); err == nil && info.Size() > maxLog {
		if err := os.Rename(d.log(), d.oldLog()); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(d.log(), os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := a.own(d.log()); err != nil {
		f.Close()
		return nil, err
	}
	return &serverLog{File: f}, nil
}

// mark remembers the end of the log, so that sinceMark returns only later output.
func (l *serverLog) mark() {
	if info, err := l.Stat(); err == nil {
		l.from = info.Size()
	}
}

func (l *serverLog) sinceMark() string {
	// A server that fails to start writes little. The limit is for one that writes a lot.
	b, err := io.ReadAll(io.NewSectionReader(l, l.from, 1<<20))
	if err != nil {
		return ""
	}
	return string(b)
}

var complaint = regexp.MustCompile(`\b(?:FATAL|PANIC|ERROR|HINT):  .*`)

// complaints returns the last few lines that explain why a server did not start, without time and pid.
// If there are none, because PostgreSQL itself could not run, it returns the last lines of any kind.
func complaints(log string) string {
	found := complaint.FindAllString(log, -1)
	if len(found) == 0 {
		return lastLines(log, 4)
	}
	return strings.ReplaceAll(lastLines(strings.Join(found, "\n"), 4), ":  ", ": ")
}

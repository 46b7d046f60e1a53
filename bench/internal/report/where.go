package report

import (
	"bytes"
	"fmt"
	"runtime"
	"time"
)

// whereRows are the cells whose time is broken down.
var whereRows = []struct {
	workload string
	callers  int
}{
	{"point", 1},
	{"point", 64},
	{"point", 256},
	{"insert", 1},
	{"insert", 64},
	{"insert", 256},
	{"mixed", 64},
	{"tx", 1},
	{"tx", 64},
	{"eager", 1},
	{"page", 1},
	{"list-10000", 1},
	{"stream-10000", 1},
	{"json-tree", 1},
	{"aggregate", 1},
	{"bulk-update", 1},
}

// where breaks down the time of an operation.
func (r *Report) where(b *bytes.Buffer) {
	t := newTable("callers", "", "peer", "cores × time", "client", "its kernel", "server", "its kernel", "waiting")
	for _, row := range whereRows {
		cell := r.find(row.workload, row.callers)
		if cell == nil {
			continue
		}
		for _, who := range []string{reference, project} {
			s := cell.Summarize(who, reference)
			// The time that all cores had during the measurement.
			all := s.Elapsed * time.Duration(runtime.NumCPU())
			if s.ServerCPU < 0 || s.Kernel[0] < 0 || all == 0 {
				continue
			}
			client, server := s.ClientCPU-s.Kernel[0], s.ServerCPU-s.Kernel[1]
			t.add(fmt.Sprint(row.callers), row.workload, mark(who), took(all),
				share(client, all), share(s.Kernel[0], all), share(server, all), share(s.Kernel[1], all),
				share(all-s.ClientCPU-s.ServerCPU, all))
		}
	}
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(b, "## Where the time goes\n\nThe time of an operation on all %d cores, and its shares: the client's code, the kernel for the client (almost only sockets),\n"+
		"PostgreSQL's code, the kernel for PostgreSQL, and waiting for the disk, for the other side, or for a core.\n\n", runtime.NumCPU())
	t.write(b)
}

// share formats a part of a whole as a percentage. The parts come from
// different clocks, so their sum may differ slightly from the whole.
func share(part, whole time.Duration) string {
	return fmt.Sprintf("%.0f %%", max(0, 100*float64(part)/float64(whole)))
}

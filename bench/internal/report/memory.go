package report

import (
	"bytes"
	"fmt"

	"quern/bench/internal/httpload"
)

// Memory is the resident memory of one HTTP server in bytes. Idle and Busy leave out the
// mapped pages of its program, File.
type Memory struct {
	Server           string
	Idle, Busy, File int64
}

// MemoryOf returns the memory of each server that has one process: before the first request,
// and the most after a measurement with the most connections.
func MemoryOf(found []httpload.Result) (list []Memory) {
	index, most := map[string]int{}, 0
	for _, f := range found {
		most = max(most, f.Connections)
	}
	for _, f := range found {
		if f.Connections != most || f.Memory.Private == 0 || httpload.HasWorkers(f.Server) {
			continue
		}
		i, ok := index[f.Server]
		if !ok {
			i, index[f.Server] = len(list), len(list)
			list = append(list, Memory{Server: f.Server, Idle: f.Idle.Private})
		}
		list[i].Busy = max(list[i].Busy, f.Memory.Private)
		list[i].File = max(list[i].File, f.Memory.File)
	}
	return list
}

// Size formats a number of bytes.
func Size(n int64) string { return size(float64(n)) }

// memory writes the memory of the servers.
func (r *Report) memory(b *bytes.Buffer) {
	list := MemoryOf(r.Found)
	if len(list) == 0 {
		return
	}
	fmt.Fprint(b, "Resident memory of the server's process. The file is the mapped part of the program, which processes share and the\n"+
		"kernel can drop. Idle and busy are the rest: before the first request, and with the most connections.\n\n")
	t := newTable("server", "idle", "busy", "file", "busy and file, against idle and file")
	for _, m := range list {
		t.add(mark(m.Server), Size(m.Idle), Size(m.Busy), Size(m.File), ratio(float64(m.Busy+m.File)/float64(m.Idle+m.File)))
	}
	t.write(b)
}

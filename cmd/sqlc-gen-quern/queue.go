package main

import (
	"bytes"
	"fmt"
)

// queueName returns the name of the method that @queue generates.
func (s *statement) queueName() string {
	if name := upperFirst(s.Name); name != s.Name {
		return "queue" + name // unexported, like the query's method
	}
	return "Queue" + s.Name
}

// planQueues plans the queueing methods of a request.
func planQueues(req *request, statements []*statement) ([]twin, []problem) {
	return planTwins(req, statements, func(s *statement) bool {
		return s.policy.queue && kinds[s.kind] != "" && s.kind != "copyfrom"
	}, "@queue", "queued", "q", "b", "postgres")
}

// emitQueues writes queue.go.
func emitQueues(r *request, queues []twin) ([]byte, error) {
	var b bytes.Buffer
	r.golang.header(&b)
	twinImports(queues, "context").emit(&b, r.runtime())
	for _, t := range queues {
		t.emitQueue(&b, r.golang)
	}
	emitAgreement(&b, r.golang, queues)
	return formatted("queue.go", b.Bytes())
}

func (t twin) emitQueue(b *bytes.Buffer, g *golang) {
	function, result, reader := "QueueExec", "Queued[int64]", ""
	where, what := "Pipeline or QueueWithCommit", "the number of rows affected"
	switch t.kind {
	case "one":
		function, result = "QueueOne", "Queued["+t.result(g)+"]"
		where, what = "Pipeline", "its row"
		if t.pointer(g) {
			function = "QueueOnePointer"
		}
	case "many":
		function, result = "QueueMany", "QueuedRows["+t.result(g)+"]"
		where, what = "Pipeline", "its rows"
		if t.pointer(g) {
			function = "QueueManyPointers"
		}
	}
	if t.row.name != "" {
		reader = t.reader() + ", "
	}
	fmt.Fprintf(b, `
// %[1]s queues %[2]s for %[9]s. The result is %[3]s.
func (q *Queries) %[1]s(%[4]s) *postgres.%[5]s {
	return postgres.%[6]s(b, %[7]s%[8]s)
}
`, t.queueName(), t.Name, what, t.params("b *postgres.Batch"), result, function, reader, t.sends(), where)
}

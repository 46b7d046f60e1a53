package main

import (
	"bytes"
	"fmt"
)

// streamName returns the name of the method that @stream generates.
func (s *statement) streamName() string { return s.Name + "Stream" }

// planStreams plans the streaming methods of a request.
func planStreams(req *request, statements []*statement) ([]twin, []problem) {
	return planTwins(req, statements, func(s *statement) bool { return s.policy.stream && s.kind == "many" },
		"@stream", "streamed", "q", "ctx", "postgres")
}

// emitStreams writes stream.go.
func emitStreams(r *request, streams []twin) ([]byte, error) {
	var b bytes.Buffer
	r.golang.header(&b)
	twinImports(streams, "context", "iter").emit(&b, r.runtime())
	for _, t := range streams {
		t.emitStream(&b)
	}
	emitAgreement(&b, r.golang, streams)
	return formatted("stream.go", b.Bytes())
}

func (t twin) emitStream(b *bytes.Buffer) {
	fmt.Fprintf(b, `
// %[1]s yields the rows of %[2]s as they arrive,
// and an error, if there is one, last and without a row. It holds its connection
// until the loop ends. To leave the loop early, before many more rows,
// also cancel ctx. Otherwise the remaining rows are read and discarded.
func (q *Queries) %[1]s(%[3]s) iter.Seq2[%[4]s, error] {
	return postgres.Stream(ctx, q.db, %[5]s, %[6]s)
}
`, t.streamName(), t.Name, t.params("ctx context.Context"), t.row.name, t.reader(), t.sends())
}

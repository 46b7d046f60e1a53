package main

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// TestEndingWriter writes into a pipe from which nothing is read.
func TestEndingWriter(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, late)
	defer cancel()
	if _, err := (endingWriter{ctx, w}).Write([]byte("row")); !errors.Is(err, late) {
		t.Errorf("err = %v, want the context's", err)
	}
}

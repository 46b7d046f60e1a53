#!/usr/bin/env bash
# net/http: a body that stalls past its read deadline cancels the request's context, as if the client had left.
#
# Versions: Go 1.26.8 (net/http, HTTP/1.1).
# Expected: SetReadDeadline bounds reading. When it passes, Read returns os.ErrDeadlineExceeded, and the request continues: the
#   client is still connected, and its context is cancelled "when the client's connection closes" or the handler returns.
# Seen: the context is cancelled before the failed Read returns, with context.Canceled and no other cause. The client is there
#   and receives the 408 that the handler then writes.
# Why it matters: whatever the handler does next under that context (roll back, store why the upload failed, audit) fails at
#   once, and a handler that looks at the context first logs a client that went away.
# Output:
#   go1.26.8
#   context before: <nil>
#   Read: read tcp 127.0.0.1:40733->127.0.0.1:40426: i/o timeout
#   context after: context canceled, cause: context canceled
#   the client receives: HTTP/1.1 408 Request Timeout
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOTOOLCHAIN=go1.26.8
go mod init finding
cat >main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"time"
)

func main() {
	var before, readErr, after, cause error
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			panic(err)
		}
		before = r.Context().Err()
		_, readErr = io.ReadAll(r.Body)
		after, cause = r.Context().Err(), context.Cause(r.Context())
		w.WriteHeader(http.StatusRequestTimeout)
	}))
	defer s.Close()

	// The client sends a part of its body, and waits for the answer on the open connection.
	client, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprint(client, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello")
	status, err := bufio.NewReader(client).ReadString('\n')
	fmt.Printf("%s\ncontext before: %v\nRead: %v\ncontext after: %v, cause: %v\nthe client receives: %s\n",
		runtime.Version(), before, readErr, after, cause, strings.TrimSpace(status))
	if before != nil || !errors.Is(readErr, os.ErrDeadlineExceeded) || !errors.Is(after, context.Canceled) || err != nil {
		fmt.Println("changed: the context should be cancelled by the read deadline alone")
		os.Exit(1)
	}
}
GO
go run . || exit 1

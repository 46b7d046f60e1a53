package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// baseURL reads the server's URL from the lines that it prints when it is ready.
func baseURL(out io.Reader) (string, error) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		if home, found := strings.CutPrefix(scanner.Text(), "Home "); found {
			return strings.TrimSuffix(strings.TrimSpace(home), "/"), nil
		}
	}
	return "", errors.Join(errors.New("the server did not come up"), scanner.Err())
}

// client talks to the API.
type client struct {
	base string
	http *http.Client
}

func (s *server) client() *client {
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	return &client{base: s.base, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// do sends a request and reads the answer into out, unless that is nil.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return json.Unmarshal(text, out)
}

// page is one page of a list.
type page[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// list reads a list to its end and returns its items and how many pages it had.
func list[T any](ctx context.Context, c *client, path string, query url.Values) (items []T, pages int, err error) {
	for {
		var p page[T]
		if err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &p); err != nil {
			return nil, pages, err
		}
		pages++
		items = append(items, p.Items...)
		if p.Next == nil {
			return items, pages, nil
		}
		query.Set("after", *p.Next)
	}
}

// each calls act for every item, some at a time, until one fails.
func each[T any](ctx context.Context, items []T, act func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for item := range work {
				if err := act(ctx, item); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, item := range items {
		select {
		case work <- item:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(work)
	group.Wait()
	return context.Cause(ctx)
}

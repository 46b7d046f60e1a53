package httpload

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// compared is how many users are requested from every server before the rounds.
const compared = 20

// compare requests users from the whole range of ids. All servers must answer
// like the first one, so that none is faster by doing less.
func compare(ctx context.Context, servers []*server, lo, hi int64) error {
	client := &http.Client{Timeout: startTimeout, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := range int64(compared) {
		path := fmt.Sprintf("/v1/users/%d", lo+(hi-lo)*i/(compared-1))
		var first any
		for n, s := range servers {
			if s.static {
				continue
			}
			answer, err := ask(ctx, client, s.url+path)
			if err != nil {
				return fmt.Errorf("%s: GET %s: %w", s.name, path, err)
			}
			if n == 0 {
				first = answer
			} else if !reflect.DeepEqual(answer, first) {
				return fmt.Errorf("GET %s: %s answers %v, but %s answers %v", path, servers[0].name, first, s.name, answer)
			}
		}
	}
	return nil
}

// ask returns the meaning of an answer.
func ask(ctx context.Context, client *http.Client, url string) (any, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	kind := response.Header.Get("Content-Type")
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "application/json") {
		return nil, fmt.Errorf("%s, %s: %.200s", response.Status, kind, text)
	}
	return meaning(text)
}

// meaning parses an object. Times are compared as instants, because each
// language formats them differently: with Z or +00:00, and with or without
// trailing zeros.
func meaning(text []byte) (map[string]any, error) {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		return nil, err
	}
	for name, value := range object {
		if s, ok := value.(string); ok {
			if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
				object[name] = t.UTC()
			}
		}
	}
	return object, nil
}

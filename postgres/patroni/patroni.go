// Package patroni finds the servers of a PostgreSQL cluster that Patroni manages, by the REST
// API of its members. With it a Router uses replicas as they come and go:
//
//	cluster, err := patroni.New("http://node1:8008", "http://node2:8008", "http://node3:8008")
//	…
//	cfg.ReplicaDiscovery = cluster.Addresses
package patroni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// memberTimeout bounds the request to one member. A member that is down refuses it at
	// once; one whose machine is gone does not answer.
	memberTimeout = 2 * time.Second

	// maxAnswer is far above the size of an answer, which has 300 bytes for each member.
	maxAnswer = 1 << 20
)

// Client queries the members of one cluster. It is safe for concurrent use.
type Client struct {
	urls []*url.URL
	last atomic.Int64 // index of the member that answered last
	http http.Client
}

// New returns a Client for the REST APIs at the URLs, such as http://node1:8008. One is
// enough, but it is the only source then. An https URL is verified with the certificates of
// the system.
func New(urls ...string) (*Client, error) {
	if len(urls) == 0 {
		return nil, errors.New("no URL of a REST API: give one of a member, such as http://node1:8008")
	}
	c := &Client{http: http.Client{Timeout: memberTimeout}}
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			// Without the URL, which may contain a password.
			return nil, errors.New("a URL that is not one of a REST API: write it like http://node1:8008, without a user, because reading needs none")
		}
		c.urls = append(c.urls, u.JoinPath("cluster"))
	}
	// Many processes must not all ask the first member.
	c.last.Store(rand.Int64N(int64(len(c.urls))))
	return c, nil
}

// Addresses returns the host:port of each member that has a PostgreSQL, the leader included.
// It leaves out members with the tag noloadbalance, because Patroni's own health checks keep
// load balancers off them. It asks the member that answered last, and the next ones if it
// does not answer.
func (c *Client) Addresses(ctx context.Context) ([]string, error) {
	var failed error
	first := c.last.Load()
	for i := range int64(len(c.urls)) {
		n := (first + i) % int64(len(c.urls))
		addresses, err := c.ask(ctx, c.urls[n])
		if err == nil {
			c.last.Store(n)
			return addresses, nil
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// cluster is Patroni's answer to GET /cluster, as far as it is used
// (https://patroni.readthedocs.io/en/latest/rest_api.html#cluster-status-endpoints).
type cluster struct {
	Members []struct {
		Host string         `json:"host"`
		Port int            `json:"port"` // 0 while the member has no PostgreSQL yet
		Tags map[string]any `json:"tags"`
	} `json:"members"`
}

func (c *Client) ask(ctx context.Context, u *url.URL) ([]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: check that it is the REST API of a member of Patroni", u, response.Status)
	}
	var state cluster
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&state); err != nil {
		return nil, fmt.Errorf("the answer of %s is not one of Patroni: %w", u, err)
	}
	var addresses []string
	for _, m := range state.Members {
		if m.Host == "" || m.Port == 0 || m.Tags["noloadbalance"] == true {
			continue
		}
		addresses = append(addresses, net.JoinHostPort(m.Host, strconv.Itoa(m.Port)))
	}
	return addresses, nil
}

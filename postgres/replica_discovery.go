package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"quern/postgres/internal/dsn"
)

const (
	// discoveryPoll is the pause between two calls of Config.ReplicaDiscovery, and so about the
	// time within which a new replica is used. Patroni itself looks at its cluster every 10 s.
	discoveryPoll = 2 * time.Second

	// discoveryTimeout bounds one call.
	discoveryTimeout = 10 * time.Second
)

// discovery keeps the replicas of a Router as Config.ReplicaDiscovery lists them. A list says
// where servers are, and nothing about what may be read there. Each server must show, like
// one of Config.ReplicaURLs, that it follows the primary.
type discovery struct {
	router  *Router
	found   map[string]*replica // by address
	refused map[string]bool     // addresses that cannot be used, which the log has
	failed  bool                // the last call
}

// discovery returns the function that keeps the replicas up to date, or nil.
func (r *Router) discovery() func(context.Context) {
	if r.cfg.ReplicaDiscovery == nil {
		return nil
	}
	d := &discovery{router: r, found: map[string]*replica{}, refused: map[string]bool{}}
	return func(ctx context.Context) {
		for {
			d.look(ctx)
			if !pause(ctx, discoveryPoll) {
				return
			}
		}
	}
}

// look calls Config.ReplicaDiscovery once.
func (d *discovery) look(ctx context.Context) {
	addresses, err := d.router.cfg.discover(ctx)
	if ctx.Err() != nil {
		return
	}
	d.report(err)
	if err != nil {
		return
	}
	var e ReplicasChanged
	for _, address := range addresses {
		if d.add(ctx, address) {
			e.Found = append(e.Found, address)
		}
	}
	for address, x := range d.found {
		if !slices.Contains(addresses, address) {
			d.router.replicas.remove(x)
			delete(d.found, address)
			e.Forgotten = append(e.Forgotten, address)
		}
	}
	slices.Sort(e.Forgotten)
	if len(e.Found)+len(e.Forgotten) > 0 {
		d.router.cfg.Logger.InfoContext(ctx, "the replicas have changed", "found", e.Found, "forgotten", e.Forgotten)
		d.router.observer.happened(e)
	}
}

// add adds the replica at an address, unless there is one. It returns whether it did.
func (d *discovery) add(ctx context.Context, address string) bool {
	if slices.ContainsFunc(d.router.replicas.list(), func(r *replica) bool { return r.address == address }) {
		return false
	}
	url, err := d.router.cfg.urlOf(address)
	var x *replica
	if err == nil {
		// Not ctx, because the pool's own connections outlast this call.
		x, err = d.router.openReplica(context.WithoutCancel(ctx), settingDiscovery, url)
	}
	if err != nil {
		if !d.refused[address] {
			d.refused[address] = true
			d.router.cfg.Logger.WarnContext(ctx, "a server that was discovered cannot be used", "address", address, "error", oneLine(err))
		}
		return false
	}
	d.found[address] = x
	d.router.replicas.begin(ctx, x)
	return true
}

// report logs that discovery fails, and that it has recovered, once each.
func (d *discovery) report(err error) {
	log := d.router.cfg.Logger
	if err != nil {
		d.router.observer.happened(DiscoveryFailed{err})
	}
	switch failed := err != nil; {
	case failed && !d.failed:
		log.Warn("replicas cannot be discovered: those that are known stay in use", "error", oneLine(err))
	case !failed && d.failed:
		log.Info("replicas are discovered again")
	}
	d.failed = err != nil
}

// errNoServer: a cluster has at least its primary. A list without it comes from a Patroni
// that has just started, or has lost its store.
var errNoServer = errors.New("no server is listed")

// discover returns the addresses of the cluster's servers, at least one.
func (c Config) discover(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	addresses, err := c.ReplicaDiscovery(ctx)
	if err == nil && len(addresses) == 0 {
		err = errNoServer
	}
	return addresses, err
}

// urlOf returns the connection string of the server at an address.
func (c Config) urlOf(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	// A comma would separate several hosts, and a path would be a socket.
	if err != nil || host == "" || strings.ContainsAny(host, ",/") {
		return "", fmt.Errorf("%s lists %q: it must be host:port", settingDiscovery, address)
	}
	return dsn.WithHost(c.URL, host, port), nil
}

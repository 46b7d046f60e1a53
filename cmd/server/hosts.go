package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// loopbackHosts are the names of this machine to itself.
var loopbackHosts = []string{"localhost", "127.0.0.1", "::1"}

// exposed warns of an address that other machines can reach.
const exposed = "every machine that reaches it can read and change all data, because the API has no authentication: " +
	"use 127.0.0.1:8080, or let only a proxy that authenticates reach it"

// hosts are the hosts that requests may name: on loopback those of loopback
// and of ALLOWED_HOSTS, because another name is one that was made to resolve to
// this machine by a page of another site. Beyond loopback the names are not
// known, and all may be named unless ALLOWED_HOSTS is set.
func (s *settings) hosts(at net.Addr) []string {
	allowed := s.allowedHosts()
	if len(allowed) == 0 && !isLoopback(at) {
		return nil
	}
	return append(allowed, loopbackHosts...)
}

// allowedHosts are those of ALLOWED_HOSTS.
func (s *settings) allowedHosts() (hosts []string) {
	for _, part := range s.AllowedHosts {
		hosts = append(hosts, strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return hosts
}

// validateHosts refuses what no Host can match.
func (s *settings) validateHosts() error {
	for _, host := range s.allowedHosts() {
		if net.ParseIP(host) != nil {
			continue
		}
		if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, "*@") {
			return fmt.Errorf("ALLOWED_HOSTS has %q: write names as in api.example.com or api.example.com:8443", host)
		}
	}
	return nil
}

// origins are those of CORS_ORIGINS.
func (s *settings) origins() (origins []string) {
	for _, part := range s.CORSOrigins {
		origins = append(origins, strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return origins
}

// validateOrigins refuses what no browser sends as an Origin.
func (s *settings) validateOrigins() error {
	for _, origin := range s.origins() {
		if origin == "*" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.Contains(origin, "*") {
			return fmt.Errorf("CORS_ORIGINS has %q: write origins as in https://app.example.com or http://localhost:5173, without a path, or * for all", origin)
		}
	}
	return nil
}

// refuseEmbedded refuses the embedded default where other machines reach the API,
// unless it is allowed. If DATABASE_URL was forgotten there, the service would start
// with an empty database in the wrong place, without an error.
func (s *settings) refuseEmbedded(beyondLoopback bool) error {
	if s.DatabaseURL != "" || !beyondLoopback || s.AllowEmbedded {
		return nil
	}
	return fmt.Errorf("DATABASE_URL is not set, and LISTEN is %s, beyond loopback: no PostgreSQL of its own is started for other machines: "+
		"set DATABASE_URL, or LISTEN to 127.0.0.1:8080, or ALLOW_EMBEDDED=true if the data is to live in %s", s.Listen, s.DataDir)
}

func isLoopback(at net.Addr) bool {
	address, ok := at.(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}

// listensBeyondLoopback reports whether other machines could reach LISTEN. A
// name that cannot be looked up is left for serve to complain of.
func (s *settings) listensBeyondLoopback(ctx context.Context) bool {
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return false
	}
	if host == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			return true
		}
	}
	return false
}

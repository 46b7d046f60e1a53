package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// loopbackHosts are the names of the loopback interface.
var loopbackHosts = []string{"localhost", "127.0.0.1", "::1"}

// hosts returns the hosts that are accepted in requests. On loopback those are the
// loopback names and ALLOWED_HOSTS, because another name means DNS rebinding: a page
// of another site made its name resolve to this machine. On other addresses the
// names are not known, so all are accepted (nil) unless ALLOWED_HOSTS is set.
func (s *settings) hosts(at net.Addr) []string {
	allowed := s.allowedHosts()
	if len(allowed) == 0 && !isLoopback(at) {
		return nil
	}
	return append(allowed, loopbackHosts...)
}

// allowedHosts returns the hosts of ALLOWED_HOSTS.
func (s *settings) allowedHosts() (hosts []string) {
	for _, part := range s.AllowedHosts {
		hosts = append(hosts, strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return hosts
}

// validateHosts rejects entries that no Host header can match.
func (s *settings) validateHosts() error {
	for _, host := range s.allowedHosts() {
		if net.ParseIP(host) != nil {
			continue
		}
		if u, err := url.Parse("http://" + host); err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, "*@") {
			return fmt.Errorf("ALLOWED_HOSTS has %q, which is not a host: write it like api.example.com or api.example.com:8443", host)
		}
	}
	return nil
}

// origins returns the origins of CORS_ORIGINS.
func (s *settings) origins() (origins []string) {
	for _, part := range s.CORSOrigins {
		origins = append(origins, strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return origins
}

// validateOrigins rejects entries that no browser sends as an Origin.
func (s *settings) validateOrigins() error {
	for _, origin := range s.origins() {
		if origin == "*" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.Contains(origin, "*") {
			return fmt.Errorf("CORS_ORIGINS has %q, which is not an origin: write it like https://app.example.com or http://localhost:5173, without a path, or * for all", origin)
		}
	}
	return nil
}

// refuseEmbedded returns an error if the embedded PostgreSQL would be used although
// other machines can reach the API, unless ALLOW_EMBEDDED is set. Otherwise, if
// DATABASE_URL was forgotten, the service would start on an empty database without
// an error.
func (s *settings) refuseEmbedded(beyondLoopback bool) error {
	if s.DatabaseURL != "" || !beyondLoopback || s.AllowEmbedded {
		return nil
	}
	return fmt.Errorf("DATABASE_URL is not set, and LISTEN is %s, beyond loopback: the embedded PostgreSQL is not started for other machines: "+
		"set DATABASE_URL, or LISTEN to 127.0.0.1:8080, or ALLOW_EMBEDDED=true to keep the data in %s", s.Listen, s.DataDir)
}

func isLoopback(at net.Addr) bool {
	address, ok := at.(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}

// beyondLoopback reports whether other machines can reach an address. It returns
// false for a name that cannot be resolved, because serve reports that.
func beyondLoopback(ctx context.Context, address string) bool {
	host, _, err := net.SplitHostPort(address)
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

package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// entrance is an Entrance with what is computed from it.
type entrance struct {
	Entrance
	operators bool // whether it has the routes of operators
	hosts     []string
	origins   http.CrossOriginProtection
}

func (s *server) entrance(x Entrance, operators bool) *entrance {
	e := &entrance{Entrance: x, operators: operators}
	for _, host := range x.AllowedHosts {
		e.hosts = append(e.hosts, hostname(host))
		for _, origin := range originsOf(host) {
			if err := e.origins.AddTrustedOrigin(origin); err != nil {
				panic("api: AllowedHosts: " + err.Error())
			}
		}
	}
	return e
}

// guard rejects requests that are addressed to another server or were sent by a page of
// another site. Without API tokens only the network protects the data, and every browser in
// that network runs code of other sites. A name that was made to resolve
// to this server's address (DNS rebinding) shows in the Host header, and a page of another
// site in Origin or Sec-Fetch-Site.
func (s *server) guard(e *entrance, next http.Handler) http.Handler {
	shared := s.crossOrigin()
	from := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromAllowedOrigin(shared, r) && e.origins.Check(r) != nil {
			refuse(w, r, newProblem(codeCrossOrigin))
			return
		}
		next.ServeHTTP(w, r)
	}))
	if shared != nil {
		from = shared.Handler(from) // handles preflight requests
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(e.hosts) > 0 && !addressed(r, e.hosts) {
			refuse(w, r, newProblem(codeMisdirected))
			return
		}
		from.ServeHTTP(w, r)
	})
}

// fromOtherOrigin reports whether a page of another origin sent a request of any method.
func (e *entrance) fromOtherOrigin(r *http.Request) bool {
	return e.origins.Check(&http.Request{Method: http.MethodPost, URL: r.URL, Host: r.Host, Header: r.Header}) != nil
}

// originsOf returns the origins of a host's own pages. It is needed if a proxy sends
// another Host than the browser. Loopback hosts have none, because other origins on this
// machine are other services, on other ports.
func originsOf(host string) []string {
	name := hostname(host)
	ip, err := netip.ParseAddr(name)
	switch {
	case name == "localhost", err == nil && ip.IsLoopback():
		return nil
	case err == nil && ip.Is6() && !strings.HasPrefix(host, "["):
		host = "[" + host + "]"
	}
	return []string{"http://" + host, "https://" + host}
}

// addressed reports whether a request names one of the hosts, or the address of its
// connection as probes do. HTTP/1.0 does not require a Host, and every browser sends one.
func addressed(r *http.Request, hosts []string) bool {
	if r.Host == "" {
		return !r.ProtoAtLeast(1, 1)
	}
	host := hostname(r.Host)
	if slices.Contains(hosts, host) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && hostname(local.String()) == host
}

// hostname returns the host of host:port in the canonical form for comparisons: in lower
// case, without a final dot, IP addresses as net/netip formats them.
func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().WithZone("").String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

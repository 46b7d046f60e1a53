package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// exposed warns of an address that other machines can reach without a token.
const exposed = "every machine that can connect to it can read and change all data, because INSECURE is set: " +
	"allow connections from an authenticating proxy only, or unset INSECURE and use API tokens"

// demandsTokens reports whether requests to an address need an API token.
func (s *settings) demandsTokens(beyondLoopback bool) bool {
	return s.Auth == "tokens" || beyondLoopback && !s.Insecure
}

// endpoint is an address that the service listens on.
type endpoint struct {
	setting, value string
	listener       net.Listener // nil before listen
	server         *http.Server
}

// endpoints returns those of the settings: of LISTEN, and of OPERATOR_LISTEN if it is set.
func (s *settings) endpoints() []*endpoint {
	list := []*endpoint{{setting: "LISTEN", value: s.Listen}}
	if s.OperatorListen != "" {
		list = append(list, &endpoint{setting: "OPERATOR_LISTEN", value: s.OperatorListen})
	}
	return list
}

// beyond reports whether other machines can reach the address.
func (e *endpoint) beyond() bool { return !isLoopback(e.listener.Addr()) }

// noToken is why the service does not start beyond loopback.
func (e *endpoint) noToken() string {
	return fmt.Sprintf("%s is %s, beyond loopback, and there is no valid API token: create one with `server token create --scope write`, "+
		"or set %s to 127.0.0.1:8080, or pass --insecure to serve every machine without tokens", e.setting, e.value, e.setting)
}

// newTokens returns what verifies the API tokens of requests, or nil if no endpoint needs
// any. Beyond loopback it returns an error if there is no valid token, because then no
// request could be answered. While migrations are pending the tokens may not have their table.
func (a *app) newTokens(ctx context.Context, queries *db.Queries, endpoints []*endpoint, pending bool) (*store.Tokens, error) {
	var demands, beyond *endpoint
	for _, e := range endpoints {
		if a.settings.demandsTokens(e.beyond()) {
			demands = e
		}
		if !e.beyond() {
			continue
		}
		beyond = e
		switch {
		case a.settings.Insecure:
			a.log.Warn(e.setting + " is " + e.value + ": " + exposed)
		case a.settings.TLSCert == "":
			a.log.Info(e.setting + " is " + e.value + ", without TLS: API tokens can be read on the network, unless a proxy in front ends TLS: set TLS_CERT and TLS_KEY")
		}
	}
	if demands == nil {
		return nil, nil
	}
	tokens := store.NewTokens(queries, a.log)
	if pending {
		return tokens, nil
	}
	switch any, err := tokens.Any(ctx); {
	case err != nil:
		return nil, err
	case !any && beyond != nil:
		return nil, errors.New(beyond.noToken())
	case !any:
		a.log.Warn("there is no valid API token, so every request is rejected: create one with `server token create --scope write`")
	}
	return tokens, nil
}

// entrance returns how requests to an endpoint are let in.
func (a *app) entrance(e *endpoint, tokens *store.Tokens) api.Entrance {
	if !a.settings.demandsTokens(e.beyond()) {
		tokens = nil
	}
	return api.Entrance{AllowedHosts: a.settings.hosts(e.listener.Addr()), Tokens: tokens}
}

// checkTokens reports whether requests need an API token, and whether there is one.
func (x *report) checkTokens(ctx context.Context, a *app, router *postgres.Router) error {
	if !a.settings.demandsTokens(len(x.beyond) > 0) {
		return nil
	}
	any, err := store.NewTokens(db.New(router), a.log).Any(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("check the API tokens: %w", err)
	case any:
		x.fact("access", "requests need an API token")
	case len(x.beyond) > 0:
		x.wrong("%s", x.beyond[0].noToken())
	default:
		x.note("AUTH is tokens, and there is no valid API token: create one with `server token create --scope write`")
	}
	return nil
}

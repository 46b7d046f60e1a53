package main

import (
	"context"
	"errors"
	"fmt"
	"net"

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

// noToken is why the service does not start beyond loopback.
func (s *settings) noToken() string {
	return fmt.Sprintf("LISTEN is %s, beyond loopback, and there is no valid API token: create one with `server token create --scope write`, "+
		"or set LISTEN to 127.0.0.1:8080, or pass --insecure to serve every machine without tokens", s.Listen)
}

// newTokens returns what verifies the API tokens of requests, or nil if they need none.
// Beyond loopback it returns an error if there is no valid token, because then no request
// could be answered. While migrations are pending the tokens may not have their table.
func (a *app) newTokens(ctx context.Context, queries *db.Queries, at net.Addr, pending bool) (*store.Tokens, error) {
	beyond := !isLoopback(at)
	if !a.settings.demandsTokens(beyond) {
		if beyond {
			a.log.Warn("LISTEN is " + a.settings.Listen + ": " + exposed)
		}
		return nil, nil
	}
	tokens := store.NewTokens(queries, a.log)
	if pending {
		return tokens, nil
	}
	switch any, err := tokens.Any(ctx); {
	case err != nil:
		return nil, err
	case !any && beyond:
		return nil, errors.New(a.settings.noToken())
	case !any:
		a.log.Warn("there is no valid API token, so every request is rejected: create one with `server token create --scope write`")
	}
	return tokens, nil
}

// checkTokens reports whether requests need an API token, and whether there is one.
func (x *report) checkTokens(ctx context.Context, a *app, router *postgres.Router) error {
	if !a.settings.demandsTokens(x.beyond) {
		return nil
	}
	any, err := store.NewTokens(db.New(router), a.log).Any(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("check the API tokens: %w", err)
	case any:
		x.fact("access", "requests need an API token")
	case x.beyond:
		x.wrong("%s", a.settings.noToken())
	default:
		x.note("AUTH is tokens, and there is no valid API token: create one with `server token create --scope write`")
	}
	return nil
}

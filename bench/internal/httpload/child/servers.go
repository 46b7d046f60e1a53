package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
)

// poolSize is the number of connections of each server.
const poolSize = 8

func servePool(ctx context.Context, on func(*pgxpool.Pool) *http.Server) error {
	c, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return errors.New("DATABASE_URL: not a connection string")
	}
	c.MaxConns, c.MinConns = poolSize, poolSize
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return err
	}
	return serve(on(pool))
}

// apiOn returns the server as set up by cmd/server, but on a plain pool instead
// of the Router. The difference is the cost of the Router.
func apiOn(pool *pgxpool.Pool) *http.Server {
	q := db.New(pool)
	return &http.Server{
		Handler:           api.New(api.Config{Queries: q, Store: store.New(q), Logger: slog.New(slog.DiscardHandler)}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// user is a user in JSON, as a minimal service would define it.
type user struct {
	ID        int64     `json:"id"`
	Username  string    `json:"username"`
	Email     string    `json:"email"`
	Age       *int32    `json:"age"`
	Tags      []string  `json:"tags"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int32     `json:"version"`
}

const getUser = "SELECT id, username, email, age, tags, created_at, updated_at, version FROM users WHERE id = $1"

func handlerOn(pool *pgxpool.Pool) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			http.Error(w, "the id is not a number", http.StatusUnprocessableEntity)
			return
		}
		var u user
		err = pool.QueryRow(r.Context(), getUser, id).
			Scan(&u.ID, &u.Username, &u.Email, &u.Age, &u.Tags, &u.CreatedAt, &u.UpdatedAt, &u.Version)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			http.Error(w, "no such user", http.StatusNotFound)
		case err != nil:
			http.Error(w, "the database does not answer", http.StatusInternalServerError)
		default:
			writeJSON(w, u)
		}
	})
	return &http.Server{Handler: mux}
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the client is gone
}

// rest is the text after the id in an answer of typical length.
const rest = `,"username":"ada.1.2s","email":"ada.1.2s@example.com","age":36,"tags":["postgres","go"],` +
	`"created_at":"2024-05-01T12:00:00.123Z","updated_at":"2024-05-01T12:00:00.123Z","version":1}`

// static shows the limit of HTTP itself.
func static() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":` + r.PathValue("id") + rest)) // the client is gone
	})
	return mux
}

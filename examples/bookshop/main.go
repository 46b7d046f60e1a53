// Command bookshop serves the books and orders of many shops over HTTP. It is an
// example of a project that imports the runtime and has its own schema and queries.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/google/uuid"

	"example.com/bookshop/db"
	"quern/postgres"
	"quern/postgres/migrate"
	"quern/postgres/pgconsole"
)

//go:embed migrations/*.sql
var files embed.FS

// migrations returns the migrations at the root of a file system.
func migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the name is valid
	}
	return sub
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	url := os.Getenv("DATABASE_URL")
	if url == "" {
		log.Fatal("DATABASE_URL is not set: set it to a database, such as postgres://user:password@localhost/bookshop")
	}
	if err := run(ctx, url, "127.0.0.1:8081"); err != nil {
		log.Fatal(err)
	}
}

// run applies the migrations and serves until ctx ends.
func run(ctx context.Context, url, address string) error {
	m, err := migrate.New(migrate.Config{URL: url, FS: migrations()})
	if err != nil {
		return err
	}
	defer m.Close()
	console := pgconsole.New(pgconsole.Options{Name: "Bookshop", Migrator: m, FS: migrations()})
	defer console.Close()
	router, err := postgres.Connect(ctx, postgres.Config{
		URL: url, Statements: db.Statements, Name: "bookshop", Observers: []postgres.Observer{console},
	})
	if err != nil {
		return err
	}
	defer router.Close()
	if _, err := m.Up(ctx); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", handler(db.New(router)))
	mux.Handle("/console/", console.Handler()) // without access control, because address is on loopback
	server := &http.Server{Addr: address, Handler: mux}
	server.RegisterOnShutdown(console.Close)
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })
	log.Printf("bookshop listens on %s", address)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// line is one book of a new order.
type line struct {
	Book     uuid.UUID
	Quantity int32
}

// placeOrder stores an order with its lines in one round trip. If a book does not
// exist, nothing is stored. A repetition is harmless, because the order's id makes
// it a unique violation.
func placeOrder(ctx context.Context, q *db.Queries, order db.CreateOrderParams, lines []line) (db.SalesOrder, error) {
	var created *postgres.Queued[db.SalesOrder]
	err := q.InTx(ctx, func(q *db.Queries) error {
		var added []*postgres.Queued[int64]
		err := q.Pipeline(ctx, postgres.TxOptions{}, func(b *postgres.Batch) error {
			created, added = q.QueueCreateOrder(b, order), nil
			for _, l := range lines {
				added = append(added, q.QueueAddLine(b, db.AddLineParams{
					ShopID: order.ShopID, OrderID: order.ID, BookID: l.Book, Quantity: l.Quantity,
				}))
			}
			return nil
		})
		for _, a := range added {
			if n, failed := a.Get(); failed == nil && n == 0 {
				return postgres.ErrNotFound
			}
		}
		return err
	})
	if err != nil {
		return db.SalesOrder{}, err
	}
	return created.Get()
}

func handler(q *db.Queries) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shops/{shop}/books/{id}", func(w http.ResponseWriter, r *http.Request) {
		shop, err1 := uuid.Parse(r.PathValue("shop"))
		id, err2 := uuid.Parse(r.PathValue("id"))
		if err := errors.Join(err1, err2); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		book, err := q.GetBook(r.Context(), db.GetBookParams{ShopID: shop, ID: id})
		answer(w, book, err)
	})
	mux.HandleFunc("POST /shops/{shop}/orders", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			ID       uuid.UUID
			Customer string
			Lines    []line
		}
		shop, err1 := uuid.Parse(r.PathValue("shop"))
		err2 := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body)
		if err := errors.Join(err1, err2); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		order := db.CreateOrderParams{ShopID: shop, ID: body.ID, Customer: body.Customer}
		created, err := placeOrder(r.Context(), q, order, body.Lines)
		answer(w, created, err)
	})
	return mux
}

// answer writes a value, or the HTTP status for an error.
func answer(w http.ResponseWriter, value any, err error) {
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value) // an error means that the client is gone
	case errors.Is(err, postgres.ErrNotFound):
		http.Error(w, "not found", http.StatusNotFound)
	case errors.Is(err, postgres.ErrUnique):
		http.Error(w, "exists already", http.StatusConflict)
	case errors.Is(err, postgres.ErrCheck), errors.Is(err, postgres.ErrForeignKey):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	case errors.Is(err, postgres.ErrUnavailable), errors.Is(err, postgres.ErrPoolExhausted):
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the database is temporarily unavailable", http.StatusServiceUnavailable)
	default:
		log.Print(err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

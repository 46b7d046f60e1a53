package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// exampleURL returns the URL of a database with the accounts and notes of the examples.
func exampleURL() (url string, drop func()) {
	url, remove, err := pgtest.Create(context.Background(), testdata.Migrations())
	if err != nil {
		log.Fatal(err)
	}
	return url, func() {
		if err := remove(); err != nil {
			log.Fatal(err)
		}
	}
}

// exampleRouter returns a Router on such a database.
func exampleRouter() (router *postgres.Router, done func()) {
	url, drop := exampleURL()
	router, err := postgres.Connect(context.Background(), postgres.Config{URL: url, Statements: db.Statements, Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	return router, func() { router.Close(); drop() }
}

func ExampleConnect() {
	url, drop := exampleURL()
	defer drop()
	ctx := context.Background()

	router, err := postgres.Connect(ctx, postgres.Config{
		URL:        url,
		Statements: db.Statements, // the policies of the SQL files
		MaxConns:   4,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer router.Close()

	// A Router can be used in place of a pool with sqlc's generated code.
	queries := db.New(router)
	account, err := queries.CreateAccount(ctx, db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.ID, account.Username)
	// Output: 1 ann
}

// The function may run more than once. All statements that it sends through tx commit
// together, or none does.
func ExampleInTx() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()

	err := postgres.InTx(ctx, router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		queries := db.New(tx)
		account, err := queries.CreateAccount(ctx, db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}})
		if err != nil {
			return err
		}
		_, err = queries.CreateNote(ctx, db.CreateNoteParams{AccountID: account.ID, Title: "First", Content: "…", Tags: []string{}})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	overview, err := db.New(router).GetOverview(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(overview.Accounts, "account,", overview.Notes, "note")
	// Output: 1 account, 1 note
}

// InTx within a transaction is a savepoint. If it fails, the rest of the transaction can
// continue.
func ExampleInTx_savepoint() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()

	ann := db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}}
	err := db.New(router).InTx(ctx, func(tx *db.Queries) error {
		if _, err := tx.CreateAccount(ctx, ann); err != nil {
			return err
		}
		err := tx.InTx(ctx, func(savepoint *db.Queries) error {
			_, err := savepoint.CreateAccount(ctx, ann)
			return err
		})
		fmt.Println("again:", errors.Is(err, postgres.ErrUnique))
		return nil
	})
	fmt.Println("transaction:", err)
	// Output:
	// again: true
	// transaction: <nil>
}

// All statements of a Pipeline are sent before the first result is read, so the transaction
// is one round trip. @queue in the SQL file generates the Queue methods.
func ExamplePipeline() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()
	queries := db.New(router)

	var account *postgres.Queued[*db.Account]
	var notes *postgres.QueuedRows[*db.Note]
	err := postgres.Pipeline(ctx, router, postgres.TxOptions{}, func(b *postgres.Batch) error {
		account = queries.QueueCreateAccount(b, db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}})
		notes = queries.QueueCreateNotesOfNewAccount(b, db.CreateNotesOfNewAccountParams{
			Titles: []string{"First", "Second"}, Contents: []string{"…", "…"}, Tags: [][]byte{[]byte("[]"), []byte("[]")},
		})
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	ann, err := account.Get()
	if err != nil {
		log.Fatal(err)
	}
	list, err := notes.Get()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ann.Username, "has", len(list), "notes")
	// Output: ann has 2 notes
}

// A :many with @stream has a method that yields its rows as they arrive, in constant
// memory. It calls Stream.
func ExampleStream() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()
	queries := db.New(router)
	for _, name := range []string{"ann", "ben", "cat"} {
		if _, err := queries.CreateAccount(ctx, db.CreateAccountParams{Username: name, Email: name + "@example.com", Tags: []string{}}); err != nil {
			log.Fatal(err)
		}
	}

	for account, err := range queries.ListAccountsAfterStream(ctx, db.ListAccountsAfterParams{RowLimit: 1000}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(account.Username)
	}
	// Output:
	// ann
	// ben
	// cat
}

// With a session, no read is older than the caller's own writes, even on a replica. Its
// token transfers that to another process, in an HTTP header for example.
func ExampleWithSession() {
	router, done := exampleRouter()
	defer done()
	queries := db.New(router)

	ctx, session := postgres.WithSession(context.Background())
	account, err := queries.CreateAccount(ctx, db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}})
	if err != nil {
		log.Fatal(err)
	}
	token := session.Token()

	// The next request of the same caller.
	ctx, session = postgres.WithSession(context.Background())
	if err := session.Observe(token); err != nil {
		log.Fatal(err)
	}
	account, err = queries.GetAccount(ctx, account.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(account.Username)
	// Output: ann
}

// Notifications are only hints. A listener that has just connected may have missed some, so
// it must check the tables.
func ExampleRouter_Listen() {
	router, done := exampleRouter()
	defer done()
	ctx, cancel := context.WithCancel(context.Background())

	heard := make(chan string)
	go func() {
		defer close(heard)
		router.Listen(ctx, "accounts", func(payload string, connected bool) {
			if connected {
				payload = "connected"
			}
			heard <- payload
		})
	}()
	fmt.Println(<-heard)
	if _, err := router.Exec(ctx, "SELECT pg_notify('accounts', 'ann')"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-heard)
	cancel()
	<-heard // until Listen has returned
	// Output:
	// connected
	// ann
}

// GetAccountByUsername has @batch. Under load, concurrent calls are merged into one
// statement. Each caller gets its own row or error, as it would without @batch.
func Example_coalescing() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()
	queries := db.New(router)
	if _, err := queries.CreateAccount(ctx, db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}}); err != nil {
		log.Fatal(err)
	}

	var mu sync.Mutex
	found, missing := 0, 0
	var calls sync.WaitGroup
	for i := range 100 {
		calls.Go(func() {
			_, err := queries.GetAccountByUsername(ctx, []string{"ann", "ben"}[i%2])
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				found++
			case errors.Is(err, postgres.ErrNotFound):
				missing++
			default:
				log.Print(err)
			}
		})
	}
	calls.Wait()
	fmt.Println(found, "found,", missing, "not found")
	// Output: 50 found, 50 not found
}

// Errors are distinguished with errors.Is. An Error contains the constraint and the
// statement.
func ExampleError() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()
	queries := db.New(router)

	_, err := queries.GetAccount(ctx, 1)
	fmt.Println(errors.Is(err, postgres.ErrNotFound))

	ann := db.CreateAccountParams{Username: "ann", Email: "ann@example.com", Tags: []string{}}
	if _, err := queries.CreateAccount(ctx, ann); err != nil {
		log.Fatal(err)
	}
	_, err = queries.CreateAccount(ctx, ann)
	if e := (*postgres.Error)(nil); errors.Is(err, postgres.ErrUnique) && errors.As(err, &e) {
		fmt.Println(e.Statement, e.Constraint)
	}
	// Output:
	// true
	// CreateAccount accounts_username_key
}

// Diagnose explains a connection error and how to fix it.
func ExampleDiagnose() {
	url, drop := exampleURL()
	defer drop()

	_, err := postgres.Connect(context.Background(), postgres.Config{URL: url + "&dbname=shop", ConnectRetries: -1})
	diagnosis := postgres.Diagnose(err)
	fmt.Println(diagnosis.What)
	fmt.Println(diagnosis.Transient)
	// Output:
	// the database does not exist
	// false
}

func ExampleMaskURL() {
	fmt.Println(postgres.MaskURL("postgres://app:s3cret@db.example.com/shop?sslmode=verify-full"))
	// Output: postgres://app:xxxxx@db.example.com/shop?sslmode=verify-full
}

// Stats show the cost of a request, which is an N+1 query here.
func ExampleWithStats() {
	router, done := exampleRouter()
	defer done()
	queries := db.New(router)

	ctx, stats := postgres.WithStats(context.Background())
	ids, err := queries.ListAccountIDs(ctx, []int64{1, 2, 3})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ids), "accounts")
	for id := range int64(3) {
		if _, err := queries.GetAccount(ctx, id); !errors.Is(err, postgres.ErrNotFound) {
			log.Fatal(err)
		}
	}
	total, took := stats.Total()
	statement, times := stats.Most()
	fmt.Println(total, "statements,", times, "of them", statement, took < time.Minute)
	// Output:
	// 0 accounts
	// 4 statements, 3 of them GetAccount true
}

// COPY is the fastest way to store many rows. A :copyfrom query stores all of them or none.
func ExampleRouter_CopyFrom() {
	router, done := exampleRouter()
	defer done()
	ctx := context.Background()

	now := time.Now()
	var accounts []db.CopyAccountsParams
	for i, name := range strings.Fields("ann ben cat") {
		accounts = append(accounts, db.CopyAccountsParams{
			ID: int64(i + 1), Username: name, Email: name + "@example.com", Tags: []string{}, CreatedAt: now, UpdatedAt: now, Version: 1,
		})
	}
	n, err := db.New(router).CopyAccounts(ctx, accounts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "accounts")
	// Output: 3 accounts
}

package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"example.com/bookshop/db"
	"quern/pgtest"
	"quern/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// open returns the queries on a database that only this test uses, or on the one that
// BOOKSHOP_TEST_URL names, such as one on Citus that citus.sql has distributed. The tests can share
// it, because each has its own shops.
func open(t *testing.T) *db.Queries {
	t.Helper()
	return db.New(connect(t))
}

func connect(t *testing.T) *postgres.Router {
	t.Helper()
	// Without their deadlines, because a quarter of a second is short on a busy machine.
	patient := slices.Clone(db.Statements)
	for i := range patient {
		patient[i].Timeout = 0
	}
	return pgtest.Connect(t, migrations(), postgres.Config{URL: os.Getenv("BOOKSHOP_TEST_URL"), Statements: patient})
}

func TestStatements(t *testing.T) {
	t.Parallel()
	pgtest.CheckStatements(t, migrations(), db.Statements)
}

func cents(n int64) pgtype.Numeric { return pgtype.Numeric{Int: big.NewInt(n), Exp: -2, Valid: true} }

// stock adds n books to a shop, by COPY.
func stock(t *testing.T, q *db.Queries, shop uuid.UUID, n int) []db.LoadBooksParams {
	t.Helper()
	var books []db.LoadBooksParams
	genres := []db.CatalogGenre{db.CatalogGenreFiction, db.CatalogGenreHistory, db.CatalogGenreScience}
	for i := range n {
		books = append(books, db.LoadBooksParams{
			ShopID: shop, ID: uuid.New(), Isbn: fmt.Sprint("978-", i), Title: fmt.Sprint("Volume ", i),
			Genres: genres[i%3 : i%3+1], Price: cents(int64(1000 + i)),
			OnSale: pgtype.Range[pgtype.Date]{
				Lower: pgtype.Date{Time: time.Date(2026, 11, 1+i%20, 0, 0, 0, 0, time.UTC), Valid: true}, LowerType: pgtype.Inclusive,
				UpperType: pgtype.Unbounded, Valid: true,
			},
		})
	}
	if added, err := q.LoadBooks(t.Context(), books); err != nil || added != int64(n) {
		t.Fatalf("%d books were added, want %d: %v", added, n, err)
	}
	return books
}

// Each of many concurrent reads gets its own book, whether or not it was coalesced.
func TestGetBook_Concurrent(t *testing.T) {
	t.Parallel()
	q := open(t)
	books := stock(t, q, uuid.New(), 50)
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			want := books[i%len(books)]
			got, err := q.GetBook(t.Context(), db.GetBookParams{ShopID: want.ShopID, ID: want.ID})
			if err != nil || got.Isbn != want.Isbn || !slices.Equal(got.Genres, want.Genres) || got.Price.Int.Cmp(want.Price.Int) != 0 {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		})
	}
	wg.Wait()
}

func TestListBooks(t *testing.T) {
	t.Parallel()
	q := open(t)
	shop := uuid.New()
	stock(t, q, shop, 30)
	stock(t, q, uuid.New(), 5) // of another shop
	n := 0
	for book, err := range q.ListBooksStream(t.Context(), db.ListBooksParams{ShopID: shop, Genres: []db.CatalogGenre{db.CatalogGenreHistory}}) {
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(book.Genres, db.CatalogGenreHistory) {
			t.Errorf("%s is %v", book.Title, book.Genres)
		}
		n++
	}
	if n != 10 {
		t.Errorf("%d books of history, want 10", n)
	}
	day := pgtype.Date{Time: time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC), Valid: true}
	sale, err := q.ListBooksOnSale(t.Context(), db.ListBooksOnSaleParams{ShopID: shop, Day: day})
	if err != nil || len(sale) != 6 {
		t.Errorf("%d books are on sale, want 6: %v", len(sale), err)
	}
}

// An order is stored once, with all of its lines or not at all.
func TestOrders(t *testing.T) {
	t.Parallel()
	q := open(t)
	shop := uuid.New()
	books := stock(t, q, shop, 2)
	h := handler(q)
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return w
	}
	order := uuid.New()
	path := "/shops/" + shop.String() + "/orders"
	body := func(id, second uuid.UUID) string {
		return fmt.Sprintf(`{"id":%q,"customer":"ann","lines":[{"book":%q,"quantity":2},{"book":%q,"quantity":1}]}`, id, books[0].ID, second)
	}
	if w := ask("POST", path, body(order, books[1].ID)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := ask("POST", path, body(order, books[1].ID)); w.Code != http.StatusConflict {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	if w := ask("POST", path, body(uuid.New(), uuid.New())); w.Code != http.StatusNotFound {
		t.Errorf("with a book that does not exist: %d %s", w.Code, w.Body)
	}
	total, err := q.GetTotal(t.Context(), db.GetTotalParams{ShopID: shop, OrderID: order})
	if err != nil || total.Total.Int.Cmp(big.NewInt(3001)) != 0 {
		t.Errorf("the total is %+v, %v, want 30.01", total, err)
	}
	w := ask("GET", "/shops/"+shop.String()+"/books/"+books[0].ID.String(), "")
	var book db.CatalogBook
	if err := json.Unmarshal(w.Body.Bytes(), &book); err != nil || book.Title != "Volume 0" {
		t.Errorf("%s: %v", w.Body, err)
	}
	if w := ask("GET", "/shops/"+shop.String()+"/books/"+uuid.NewString(), ""); w.Code != http.StatusNotFound {
		t.Errorf("a book that does not exist: %d", w.Code)
	}
}

// A book that is put twice is stored once.
func TestPutBook(t *testing.T) {
	t.Parallel()
	q := open(t)
	p := db.PutBookParams{ShopID: uuid.New(), ID: uuid.New(), Isbn: "978", Title: "Quern", Genres: []db.CatalogGenre{}, Price: cents(1)}
	for range 2 {
		if err := q.PutBook(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	p.ID = uuid.New()
	if err := q.PutBook(t.Context(), p); postgres.ErrorClass(err) != "unique" {
		t.Errorf("another book with the same ISBN: %v", err)
	}
}

// Concurrent reviews may share a statement. Each caller must get its own review or its
// own error.
func TestCreateReview_Concurrent(t *testing.T) {
	t.Parallel()
	q := open(t)
	book := stock(t, q, uuid.New(), 1)[0]
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			p := db.CreateReviewParams{ShopID: book.ShopID, BookID: book.ID, Stars: int32(i % 6), Text: fmt.Sprint("review ", i)}
			got, err := q.CreateReview(t.Context(), p)
			switch {
			case p.Stars == 0:
				if postgres.ErrorClass(err) != "check" {
					t.Errorf("no stars: %v", err)
				}
			case err != nil || got.Text != p.Text || got.Stars != p.Stars:
				t.Errorf("%+v, %v, want %+v", got, err, p)
			}
		})
	}
	wg.Wait()
	list, err := q.ListReviews(t.Context(), db.ListReviewsParams{ShopID: book.ShopID, BookID: book.ID})
	if err != nil || len(list) != 100 {
		t.Errorf("%d reviews are listed, want 100: %v", len(list), err)
	}
	_, err = q.CreateReview(t.Context(), db.CreateReviewParams{ShopID: book.ShopID, BookID: uuid.New(), Stars: 1})
	if postgres.ErrorClass(err) != "foreign_key" {
		t.Errorf("a book that does not exist: %v", err)
	}
}

// The kept counts are those of the reviews, before and after each of several concurrent folds.
func TestCountReviews(t *testing.T) {
	t.Parallel()
	router := connect(t)
	q := db.New(router)
	book := stock(t, q, uuid.New(), 1)[0]
	check := func(want int64) {
		t.Helper()
		n, err := q.CountReviews(t.Context(), db.CountReviewsParams{ShopID: book.ShopID, BookID: book.ID})
		if err != nil || n != want {
			t.Errorf("%d reviews, %v, want %d", n, err, want)
		}
	}
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if _, err := q.CreateReview(t.Context(), db.CreateReviewParams{ShopID: book.ShopID, BookID: book.ID, Stars: 3}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check(60)
	// On Citus there are none.
	var deltas int64
	if err := router.QueryRow(t.Context(), "SELECT count(*) FROM catalog.review_deltas").Scan(&deltas); err != nil {
		t.Fatal(err)
	}
	var folded atomic.Int64
	for range 8 {
		wg.Go(func() {
			var n int64
			err := q.InTx(t.Context(), func(q *db.Queries) (err error) {
				n = 0
				if locked, err := q.LockReviewCounts(t.Context()); err != nil || !locked {
					return err
				}
				n, err = q.FoldReviews(t.Context(), 50)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			folded.Add(n)
			check(60)
		})
	}
	wg.Wait()
	if folded.Load() < min(50, deltas) || folded.Load() > deltas {
		t.Errorf("%d of %d deltas were folded, want at least 50", folded.Load(), deltas)
	}
	check(60)
}

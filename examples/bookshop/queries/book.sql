-- GetBook returns a book of a shop.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch
-- name: GetBook :one
SELECT shop_id, id, isbn, title, genres, price, on_sale
FROM catalog.books
WHERE shop_id = @shop_id AND id = @id;

-- PutBook adds a book, or replaces the one with the same id. It is idempotent.
--
-- @retry
-- name: PutBook :exec
INSERT INTO catalog.books (shop_id, id, isbn, title, genres, price, on_sale)
VALUES (@shop_id, @id, @isbn, @title, @genres, @price, sqlc.narg(on_sale))
ON CONFLICT (shop_id, id) DO UPDATE
SET isbn = EXCLUDED.isbn, title = EXCLUDED.title, genres = EXCLUDED.genres, price = EXCLUDED.price, on_sale = EXCLUDED.on_sale;

-- LoadBooks adds many books at once.
--
-- @class bulk
-- name: LoadBooks :copyfrom
INSERT INTO catalog.books (shop_id, id, isbn, title, genres, price, on_sale)
VALUES (@shop_id, @id, @isbn, @title, @genres, @price, @on_sale);

-- ListBooks returns the books of a shop that have one of the genres, sorted by
-- id.
--
-- @route replica
-- @class bulk
-- @stream
-- name: ListBooks :many
SELECT shop_id, id, isbn, title, genres, price, on_sale
FROM catalog.books
WHERE shop_id = @shop_id AND genres && @genres::catalog.genre[]
ORDER BY id;

-- ListBooksOnSale returns the books of a shop that are on sale on a given day.
--
-- quern:allow no-limit: a sale has some tens of books.
--
-- @route replica
-- @plan uses catalog.books_pkey
-- name: ListBooksOnSale :many
SELECT shop_id, id, isbn, title, genres, price, on_sale
FROM catalog.books
WHERE shop_id = @shop_id AND on_sale @> @day::date
ORDER BY id;

-- CreateReview adds a review of a book.
--
-- @batch CreateReviews
-- name: CreateReview :one
INSERT INTO catalog.reviews (shop_id, book_id, stars, text)
VALUES (@shop_id, @book_id, @stars, @text)
RETURNING shop_id, id, book_id, stars, text;

-- CreateReviews adds a review for each element of the arrays. A review of an unknown
-- book is omitted, so that it does not fail the others.
-- name: CreateReviews :many
WITH given AS (
    SELECT generate_subscripts(@shop_ids::uuid[], 1) AS ord,
           nextval('catalog.reviews_id_seq') AS id,
           unnest(@shop_ids::uuid[]) AS shop_id,
           unnest(@book_ids::uuid[]) AS book_id,
           unnest(@stars::integer[]) AS stars,
           unnest(@texts::text[]) AS text
), created AS (
    INSERT INTO catalog.reviews (id, shop_id, book_id, stars, text)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.shop_id, g.book_id, g.stars, g.text
    FROM given AS g
    WHERE g.book_id = (SELECT b.id FROM catalog.books AS b WHERE b.shop_id = g.shop_id AND b.id = g.book_id)
    ON CONFLICT DO NOTHING
    RETURNING shop_id, id, book_id, stars, text
)
SELECT g.ord::integer AS ord, c.shop_id, c.id, c.book_id, c.stars, c.text
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- ListReviews returns the reviews of a book, the newest first.
--
-- @route replica
-- @plan uses catalog.reviews_book_idx
-- name: ListReviews :many
SELECT shop_id, id, book_id, stars, text
FROM catalog.reviews
WHERE shop_id = @shop_id AND book_id = @book_id
ORDER BY id DESC
LIMIT 100;

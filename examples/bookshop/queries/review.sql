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

-- CountReviews returns the number of reviews of a book. It does not count them, so its cost
-- does not grow with their number.
--
-- @route replica
-- @plan indexed
-- name: CountReviews :one
SELECT (
    COALESCE((SELECT c.reviews FROM catalog.review_counts AS c WHERE c.shop_id = @shop_id AND c.book_id = @book_id), 0)
    + COALESCE((SELECT sum(d.n) FROM catalog.unfolded_reviews AS d WHERE d.shop_id = @shop_id AND d.book_id = @book_id), 0)
)::bigint AS reviews;

-- LockReviewCounts keeps other folds out until the end of the transaction. It returns false
-- if there is one.
--
-- The COMMIT does not wait until its WAL is written. If the server crashes before, the deltas are
-- there again, and the counts are the former ones.
-- name: LockReviewCounts :one
SELECT (
    pg_try_advisory_xact_lock('catalog.review_counts'::regclass::bigint)
    AND set_config('synchronous_commit', 'off', true) = 'off'
)::boolean AS locked;

-- FoldReviews adds up to the given number of deltas to the counts, deletes them and returns
-- their number. Call it at intervals, in a transaction after LockReviewCounts. Every snapshot
-- has a review either as a delta or in a count, so no one notices.
--
-- quern:allow all-shards: on Citus there is nothing to fold (citus.sql).
-- name: FoldReviews :one
WITH folded AS (
    DELETE FROM catalog.review_deltas AS d
    USING (SELECT shop_id, book_id, id FROM catalog.review_deltas ORDER BY shop_id, book_id, id LIMIT @row_limit::bigint) AS b
    WHERE d.shop_id = b.shop_id AND d.book_id = b.book_id AND d.id = b.id
    RETURNING d.shop_id, d.book_id, d.n
), counted AS (
    INSERT INTO catalog.review_counts AS c (shop_id, book_id, reviews)
    SELECT shop_id, book_id, sum(n) FROM folded GROUP BY shop_id, book_id
    ON CONFLICT (shop_id, book_id) DO UPDATE SET reviews = c.reviews + EXCLUDED.reviews
)
SELECT count(*) AS folded
FROM folded;
